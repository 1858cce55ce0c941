//! Where the tokens of a JSON text begin, found 64 bytes at a time.
//!
//! The bit masks are those of Langdale and Lemire, “Parsing Gigabytes of JSON per Second”
//! (<https://arxiv.org/abs/1902.08318>). What a string contains is checked here; that tokens follow
//! each other as they may, and what a number or a word is, is for whoever asks. Never looks back.

use wide::u8x16;

/// Bytes that are looked at together: a bit of a word each.
const BLOCK: usize = 64;
const LANE: usize = 16;

/// The places where tokens begin, in order: of each of `{}[]:,` and string and number and word.
pub(super) struct Tokens<'a> {
    text: &'a [u8],
    /// Where the block begins whose tokens are being given, and the one after it.
    block: usize,
    after: usize,
    /// Those of the block that were not given yet.
    tokens: u64,
    /// All ones if the block before ended within a string.
    in_string: u64,
    /// One if the block before ended with a backslash that escapes.
    escape: u64,
    /// One if the block before ended within a number or a word.
    scalar: u64,
    spaces: bool,
    malformed: bool,
}

/// Which bytes of a block are what, wherever they stand.
#[derive(Default)]
struct Classes {
    quote: u64,
    backslash: u64,
    control: u64,
    space: u64,
    operator: u64,
}

impl Classes {
    #[inline]
    fn of(block: &[u8; BLOCK]) -> Self {
        let mut classes = Self::default();
        let (lanes, _) = block.as_chunks::<LANE>();
        for (index, lane) in lanes.iter().enumerate() {
            let bytes = u8x16::new(*lane);
            let is = |byte| bytes.simd_eq(u8x16::splat(byte));
            let bits = |mask: u8x16| u64::from(mask.to_bitmask()) << (LANE * index);
            // This bit is all that tells brackets from braces.
            let braces = bytes | u8x16::splat(b'[' ^ b'{');
            let brace = |byte| braces.simd_eq(u8x16::splat(byte));
            classes.quote |= bits(is(b'"'));
            classes.backslash |= bits(is(b'\\'));
            classes.control |= bits(bytes.min(u8x16::splat(0x1f)).simd_eq(bytes));
            classes.space |= bits(is(b' '));
            classes.operator |= bits(brace(b'{') | brace(b'}') | is(b',') | is(b':'));
        }
        classes
    }
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text: text.as_bytes(),
            block: 0,
            after: 0,
            tokens: 0,
            in_string: 0,
            escape: 0,
            scalar: 0,
            spaces: false,
            malformed: false,
        }
    }

    /// Where the next token begins, without taking it.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<usize> {
        while self.tokens == 0 {
            if !self.next_block() {
                return None;
            }
        }
        Some(self.block + self.tokens.trailing_zeros() as usize)
    }

    /// Takes the tokens of the block at hand, for whoever takes many in a row.
    #[inline]
    pub(super) fn at_hand(&mut self) -> AtHand<'_, 'a> {
        AtHand { bits: self.tokens, block: self.block, tokens: self }
    }

    /// At the end of the text: whether all strings were well formed, and what stood between tokens
    /// was white space; and whether there was any of that.
    pub(super) fn end(mut self) -> Option<bool> {
        let ended = self.peek().is_none() && self.in_string == 0;
        (ended && !self.malformed).then_some(self.spaces)
    }

    #[inline(never)]
    fn next_block(&mut self) -> bool {
        let rest = &self.text[self.after..];
        self.block = self.after;
        if let Some(block) = rest.first_chunk() {
            self.after += BLOCK;
            self.tokens = self.look(block, u64::MAX);
        } else if rest.is_empty() {
            return false;
        } else {
            let mut block = [b' '; BLOCK];
            block[..rest.len()].copy_from_slice(rest);
            self.after += rest.len();
            self.tokens = self.look(&block, (1 << rest.len()) - 1);
        }
        true
    }

    /// Where tokens begin in a block, of which the bits of `real` are text.
    #[inline]
    fn look(&mut self, block: &[u8; BLOCK], real: u64) -> u64 {
        let classes = Classes::of(block);
        let escaped = self.escaped(classes.backslash);
        let quote = classes.quote & !escaped;
        // From each opening quote to before the closing one.
        let in_string = prefix_xor(quote) ^ self.in_string;
        self.in_string = ((in_string as i64) >> (u64::BITS - 1)) as u64;
        let mut space = classes.space;
        if classes.control != 0 {
            space |= classes.control;
            self.malformed |= classes.control & in_string != 0;
            let is_space = |at| matches!(block[at], b'\t' | b'\n' | b'\r');
            self.malformed |= !ones(classes.control).all(is_space);
        }
        self.spaces |= space & !in_string & real != 0;
        for at in ones(escaped & in_string) {
            self.malformed |= !is_escape(self.text.get(self.block + at..).unwrap_or_default());
        }
        let operator = classes.operator & !in_string;
        let scalar = !(in_string | quote | space | operator);
        let starts = scalar & !(scalar << 1 | self.scalar);
        self.scalar = scalar >> (u64::BITS - 1);
        (operator | quote & in_string | starts) & real
    }

    /// The bytes after a backslash that is not itself escaped.
    #[inline]
    fn escaped(&mut self, backslash: u64) -> u64 {
        const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;
        if backslash == 0 {
            return std::mem::take(&mut self.escape);
        }
        // A run of backslashes begins at an even or an odd place; subtracting carries through it.
        let begins = backslash & !self.escape;
        let codes = (begins << 1 | ODD).wrapping_sub(begins) ^ ODD;
        let escaped = codes ^ (backslash | self.escape);
        self.escape = (codes & backslash) >> (u64::BITS - 1);
        escaped
    }
}

/// [`Tokens`] whose place is held by value, so that it can stay in registers from token to token.
pub(super) struct AtHand<'t, 'a> {
    tokens: &'t mut Tokens<'a>,
    bits: u64,
    block: usize,
}

impl AtHand<'_, '_> {
    #[inline]
    pub(super) fn peek(&mut self) -> Option<usize> {
        while self.bits == 0 {
            if !self.tokens.next_block() {
                return None;
            }
            (self.bits, self.block) = (self.tokens.tokens, self.tokens.block);
        }
        Some(self.block + self.bits.trailing_zeros() as usize)
    }

    #[inline]
    pub(super) fn next(&mut self) -> Option<usize> {
        let at = self.peek()?;
        self.bits &= self.bits - 1;
        Some(at)
    }

    /// Gives back those that were not taken.
    #[inline]
    pub(super) fn put_back(self) {
        self.tokens.tokens = self.bits;
    }
}

impl Iterator for Tokens<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let at = self.peek()?;
        self.tokens &= self.tokens - 1;
        Some(at)
    }
}

/// Each bit, added without carry to all below it.
fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = bits.trailing_zeros() as usize;
        bits &= bits.checked_sub(1)?;
        Some(at)
    })
}

/// Whether the text may follow a backslash.
fn is_escape(text: &[u8]) -> bool {
    match text {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => true,
        [b'u', digits @ ..] => {
            digits.first_chunk::<4>().is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit))
        }
        _ => false,
    }
}
