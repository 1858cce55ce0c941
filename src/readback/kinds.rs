//! Names of Arrow types for people.

use arrow_schema::DataType;

/// Returns what a column of this type has, such as `integers of 32 bits`.
pub(crate) fn values_of(data_type: &DataType) -> String {
    let bits = |what: &str| match data_type.primitive_width() {
        Some(bytes) => format!("{what} of {} bits", bytes * 8),
        None => what.to_owned(),
    };
    match data_type {
        DataType::Null => "only nulls".to_owned(),
        DataType::Boolean => "booleans".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "texts".to_owned(),
        DataType::Timestamp(..) => "times".to_owned(),
        DataType::Date32 | DataType::Date64 => "dates".to_owned(),
        DataType::Struct(_) => "objects".to_owned(),
        DataType::Map(..) => "maps".to_owned(),
        DataType::Dictionary(_, values) => format!("{} in a dictionary", values_of(values)),
        list if list.is_list() => "lists".to_owned(),
        binary if binary.is_binary() => "bytes".to_owned(),
        unsigned if unsigned.is_unsigned_integer() => bits("unsigned integers"),
        integer if integer.is_integer() => bits("integers"),
        float if float.is_floating() => bits("floating-point numbers"),
        decimal if decimal.is_decimal() => "decimal numbers".to_owned(),
        other => format!("values of the type {other}"),
    }
}

/// Returns why a column cannot have values of this type. A nested one needs its types, which its file or a record states.
pub(crate) fn wrong_values(name: &str, data_type: &DataType) -> String {
    let values = values_of(data_type);
    let why = match data_type.is_nested() {
        true => {
            "which are read only with their types: in the metadata of a file of an export, or in its record"
        }
        false => "which no export has there",
    };
    format!("its column {name} has {values}, {why}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_schema::{Field, TimeUnit};

    use super::*;

    #[test]
    fn types_have_plain_names() {
        let item = Arc::new(Field::new("element", DataType::Utf8, true));
        let words = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        for (data_type, expected) in [
            (DataType::Int32, "integers of 32 bits"),
            (DataType::UInt8, "unsigned integers of 8 bits"),
            (DataType::Float64, "floating-point numbers of 64 bits"),
            (DataType::Timestamp(TimeUnit::Second, None), "times"),
            (DataType::LargeBinary, "bytes"),
            (DataType::List(item.clone()), "lists"),
            (DataType::Struct(vec![item].into()), "objects"),
            (DataType::Decimal128(10, 2), "decimal numbers"),
            (words, "texts in a dictionary"),
        ] {
            assert_eq!(values_of(&data_type), expected);
        }
    }
}
