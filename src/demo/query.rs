//! Reads a query string in the same way as Django REST Framework, and builds links to other pages. Accepts any
//! text.

use std::collections::BTreeMap;

use url::form_urlencoded;
use uuid::Uuid;

use super::dataset::{Dataset, Ordering, OrderingKey, quoted};

const SOURCES: [&str; 4] = ["seed", "synthetic", "augmented", "production"];

/// The decoded pairs of a query string.
pub(crate) struct DemoQuery(Vec<(String, String)>);

impl DemoQuery {
    pub(crate) fn parse(raw: Option<&str>) -> DemoQuery {
        DemoQuery(form_urlencoded::parse(raw.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// Returns the last value of a parameter. An empty value counts as missing.
    fn get(&self, name: &str) -> Option<&str> {
        let last = self.0.iter().rev().find(|(key, _)| key == name);
        last.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Returns the number of the requested page, or `None` if there is no such page.
    pub(crate) fn page(&self, last: u64) -> Option<u64> {
        match self.get("page") {
            None => Some(1),
            Some("last") => Some(last),
            Some(number) => number.trim().parse().ok().filter(|page| (1..=last).contains(page)),
        }
    }

    /// Returns the number of rows per page: at most `cap`, and the default if the parameter is not a positive
    /// number.
    pub(crate) fn page_size(&self, default: u32, cap: u32) -> u64 {
        let asked = self.get("page_size").and_then(|size| size.trim().parse::<u64>().ok());
        asked.filter(|&size| size > 0).map_or(u64::from(default), |size| size.min(u64::from(cap)))
    }

    /// Returns the order of the rows: the first known field. Unknown fields are ignored without an error.
    pub(crate) fn row_ordering(&self) -> Ordering {
        let known = self.ordering_terms().find_map(|(field, descending)| match field {
            "order" => Some(Ordering { key: OrderingKey::Order, descending }),
            "id" => Some(Ordering { key: OrderingKey::Id, descending }),
            _ => None,
        });
        known.unwrap_or(Ordering { key: OrderingKey::Natural, descending: false })
    }

    /// Sorts the list of datasets by the first known field. Unknown fields are ignored without an error.
    pub(crate) fn sort(&self, datasets: &mut [&Dataset]) {
        for (field, descending) in self.ordering_terms() {
            match field {
                "name" => datasets.sort_by(|a, b| a.name.cmp(&b.name)),
                "created_at" => datasets.sort_by(|a, b| a.created_at.cmp(&b.created_at)),
                "version" => datasets.sort_by_key(|dataset| dataset.version),
                _ => continue,
            }
            if descending {
                datasets.reverse();
            }
            return;
        }
    }

    fn ordering_terms(&self) -> impl Iterator<Item = (&str, bool)> {
        self.get("ordering").unwrap_or_default().split(',').map(|term| {
            let term = term.trim();
            term.strip_prefix('-').map_or((term, false), |field| (field, true))
        })
    }

    /// Returns the link to another page. It keeps the other parameters, sorted by name. Page 1 has no `page`
    /// parameter.
    pub(crate) fn link(&self, base: &str, page: u64) -> String {
        let mut pairs: Vec<(&str, &str)> = self
            .0
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .filter(|p| p.0 != "page")
            .collect();
        let number = page.to_string();
        if page > 1 {
            pairs.push(("page", &number));
        }
        pairs.sort_by_key(|&(name, _)| name);
        if pairs.is_empty() {
            return base.to_owned();
        }
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        format!("{base}?{query}")
    }
}

/// The filters of a request. A dataset that does not meet all of them is not found.
#[derive(Default)]
pub(crate) struct DemoFilters {
    agent: Option<Uuid>,
    generator_model: Option<String>,
    search: Option<String>,
    source: Option<String>,
    version: Option<i64>,
    version_min: Option<i64>,
    version_max: Option<i64>,
}

impl DemoFilters {
    /// Parses the filters of a query.
    ///
    /// # Errors
    ///
    /// The body of an answer with status 400, which names the invalid values.
    pub(crate) fn parse(query: &DemoQuery) -> Result<DemoFilters, String> {
        let mut invalid = BTreeMap::new();
        let mut integer = |name: &'static str| {
            let value = query.get(name)?.trim().parse().ok();
            if value.is_none() {
                invalid.insert(name, "Enter a number.".to_owned());
            }
            value
        };
        let (version, version_min, version_max) =
            (integer("version"), integer("version_min"), integer("version_max"));

        let agent = query.get("agent").and_then(|text| {
            let agent = Uuid::try_parse(text).ok();
            if agent.is_none() {
                invalid.insert("agent", "Enter a valid UUID.".to_owned());
            }
            agent
        });
        let source = query.get("source");
        if let Some(other) = source.filter(|source| !SOURCES.contains(source)) {
            let message =
                format!("Select a valid choice. {other} is not one of the available choices.");
            invalid.insert("source", message);
        }

        if !invalid.is_empty() {
            let fields: Vec<String> = invalid
                .iter()
                .map(|(name, message)| format!("\"{name}\":[{}]", quoted(message)))
                .collect();
            return Err(format!("{{{}}}", fields.join(",")));
        }
        Ok(DemoFilters {
            agent,
            generator_model: query.get("generator_model").map(str::to_owned),
            search: query.get("search").map(str::to_lowercase),
            source: source.map(str::to_owned),
            version,
            version_min,
            version_max,
        })
    }

    pub(crate) fn accept(&self, dataset: &Dataset) -> bool {
        fn met<T>(wanted: &Option<T>, holds: impl Fn(&T) -> bool) -> bool {
            wanted.as_ref().is_none_or(holds)
        }
        met(&self.agent, |agent| dataset.agent == Some(*agent))
            && met(&self.generator_model, |model| dataset.generator_model.as_ref() == Some(model))
            && met(&self.search, |term| dataset.name.to_lowercase().contains(term.as_str()))
            && met(&self.source, |source| dataset.source == *source)
            && met(&self.version, |version| dataset.version == *version)
            && met(&self.version_min, |least| dataset.version >= *least)
            && met(&self.version_max, |most| dataset.version <= *most)
    }
}
