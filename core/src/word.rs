//! A word of text: what a stream of words is made of.
//!
//! Words of up to 23 bytes lie in the value itself, as three machine words padded with zeros: they are cut out of a text,
//! hashed and compared without a loop over their bytes. (A string that is written in small pieces and read back in large
//! ones makes the processor wait for its own stores; that took as long as counting the word.)

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU64;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A piece of text that never changes; up to 23 bytes of it are not allocated. 24 bytes itself.
///
/// Used as the `&str` that it stands for. Stored as text.
#[derive(Clone, PartialEq, Eq)]
pub struct Word(Form);

/// There is one form for each text.
#[derive(Clone)]
enum Form {
    Short(Short),
    Long(Box<str>),
}

/// The bytes in memory order, zeros behind them; the last one is the length and 1, so that it is never 0.
#[derive(Clone, Copy, bytemuck::NoUninit)]
#[repr(C)]
struct Short {
    head: [u64; 2],
    tail: NonZeroU64,
}

/// What is left of 24 bytes of text, of which a word is the first few.
struct Keep {
    head: [u64; 2],
    tail: u64,
    /// The length, where it belongs.
    len: NonZeroU64,
}

/// Cuts words out of one text.
#[derive(Debug)]
pub struct Cutter<'a> {
    text: &'a str,
    /// Where `end` begins.
    end_from: usize,
    /// The last bytes of the text, with zeros behind them: 24 bytes can be read from each place.
    end: [u8; 2 * WIDTH],
}

/// Bytes of a short word, with its length.
const WIDTH: usize = 24;
/// Most bytes of a short word.
const MOST: usize = WIDTH - 1;
/// By length.
const KEEP: [Keep; WIDTH] = keep();

// === impl Word ===

impl Word {
    /// A word of this text.
    pub fn new(text: &str) -> Self {
        if text.len() > MOST {
            return Self(Form::Long(text.into()));
        }
        let mut bytes = [0; WIDTH];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Self(Form::Short(Short::cut(&bytes, text.len())))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Form::Short(short) => short.as_str(),
            Form::Long(text) => text,
        }
    }
}

impl Deref for Word {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Word {
    fn as_ref(&self) -> &str {
        self
    }
}

impl Hash for Word {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0 {
            Form::Short(short) => {
                state.write_u64(short.head[0]);
                state.write_u64(short.head[1]);
                state.write_u64(short.tail.get());
            }
            Form::Long(text) => text.hash(state),
        }
    }
}

impl Ord for Word {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other)
    }
}

impl PartialOrd for Word {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq<str> for Word {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Word {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<Cow<'_, str>> for Word {
    fn from(text: Cow<'_, str>) -> Self {
        Self::new(&text)
    }
}

impl From<String> for Word {
    fn from(text: String) -> Self {
        if text.len() > MOST { Self(Form::Long(text.into())) } else { Self::new(&text) }
    }
}

impl From<Word> for String {
    fn from(word: Word) -> Self {
        match word.0 {
            Form::Short(short) => short.as_str().to_owned(),
            Form::Long(text) => text.into(),
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

// === impl Form ===

impl PartialEq for Form {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Short(a), Self::Short(b)) => {
                ((a.head[0] ^ b.head[0]) | (a.head[1] ^ b.head[1]) | (a.tail.get() ^ b.tail.get())) == 0
            }
            (Self::Long(a), Self::Long(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Form {}

// === impl Short ===

impl Short {
    /// The first `len` of `bytes`, at most 23; whole characters.
    #[inline]
    fn cut(bytes: &[u8; WIDTH], len: usize) -> Self {
        let at = |place: usize| u64::from_ne_bytes(std::array::from_fn(|byte| bytes[place * 8 + byte]));
        let keep = &KEEP[len];
        Self { head: [at(0) & keep.head[0], at(1) & keep.head[1]], tail: keep.len | (at(2) & keep.tail) }
    }

    fn as_str(&self) -> &str {
        let bytes = bytemuck::bytes_of(self);
        let len = usize::from(bytes[MOST] - 1);
        std::str::from_utf8(&bytes[..len]).expect("cut out of text between characters")
    }
}

// === impl Cutter ===

impl<'a> Cutter<'a> {
    /// Cuts up `text`.
    #[inline]
    pub fn new(text: &'a str) -> Self {
        let end_from = text.len().saturating_sub(WIDTH);
        let mut end = [0; 2 * WIDTH];
        match text.as_bytes().last_chunk::<WIDTH>() {
            Some(last) => end[..WIDTH].copy_from_slice(last),
            None => end[..text.len()].copy_from_slice(text.as_bytes()),
        }
        Self { text, end_from, end }
    }

    /// The word from `start` to `end`.
    ///
    /// # Panics
    /// If these are not places in the text, one behind the other. If they are not between characters, its text cannot be read.
    #[inline]
    pub fn word(&self, start: usize, end: usize) -> Word {
        let len = end - start;
        if len > MOST {
            return Word(Form::Long(self.text[start..end].into()));
        }
        let from = match self.text.as_bytes().get(start..).and_then(<[u8]>::first_chunk) {
            Some(bytes) => bytes,
            None => self.end[start - self.end_from..].first_chunk().expect("24 bytes behind each of the last 24"),
        };
        Word(Form::Short(Short::cut(from, len)))
    }
}

const fn keep() -> [Keep; WIDTH] {
    const NOTHING: Keep = Keep { head: [0; 2], tail: 0, len: NonZeroU64::MIN };
    let mut keep = [NOTHING; WIDTH];
    let mut len = 0;
    while len < WIDTH {
        let mut bytes = [[0; 8]; 3];
        let mut at = 0;
        while at < len {
            bytes[at / 8][at % 8] = 0xff;
            at += 1;
        }
        let length = u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, len as u8 + 1]);
        keep[len] = Keep {
            head: [u64::from_ne_bytes(bytes[0]), u64::from_ne_bytes(bytes[1])],
            tail: u64::from_ne_bytes(bytes[2]),
            len: NonZeroU64::new(length).expect("at least one"),
        };
        len += 1;
    }
    keep
}

#[cfg(test)]
mod tests {
    use std::collections::hash_map::DefaultHasher;

    use proptest::prelude::*;

    use super::*;

    fn hash(word: &Word) -> u64 {
        let mut hasher = DefaultHasher::new();
        word.hash(&mut hasher);
        hasher.finish()
    }

    proptest! {
        #[test]
        fn a_word_is_its_text_however_it_was_made(text in "\\PC{0,40}", from in 0..40_usize, len in 0..40_usize) {
            let start = (from.min(text.len())..).find(|at| text.is_char_boundary(*at)).expect("the end is one");
            let end = ((start + len).min(text.len())..).find(|at| text.is_char_boundary(*at)).expect("the end is one");
            let expected = &text[start..end];
            let cut = Cutter::new(&text).word(start, end);
            prop_assert_eq!(cut.as_str(), expected);
            for other in [Word::new(expected), Word::from(expected.to_owned()), Word::from(Cow::from(expected))] {
                prop_assert_eq!(&cut, &other);
                prop_assert_eq!(hash(&cut), hash(&other));
            }
            prop_assert_eq!(String::from(cut), expected);
        }

        #[test]
        fn words_are_equal_and_in_order_as_their_texts_are(a in "[ab\\x00]{0,30}", b in "[ab\\x00]{0,30}") {
            prop_assert_eq!(Word::new(&a) == Word::new(&b), a == b);
            prop_assert_eq!(Word::new(&a).cmp(&Word::new(&b)), a.cmp(&b));
        }
    }

    #[test]
    fn a_word_is_24_bytes_and_is_stored_as_text() {
        assert_eq!(size_of::<Word>(), 24);
        for text in ["", "a", "\0", "twenty-three-bytes-long", "twenty-four-bytes-longer", "\u{fffd}"] {
            let stored = rmp_serde::to_vec(&Word::new(text)).expect("stored");
            assert_eq!(stored, rmp_serde::to_vec(text).expect("stored"));
            assert_eq!(rmp_serde::from_slice::<Word>(&stored).expect("read"), *text);
        }
    }
}
