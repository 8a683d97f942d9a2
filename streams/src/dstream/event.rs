//! One event as an element of a stream: `SparkFlumeEvent`, without the copies.

use std::borrow::Cow;
use std::sync::Arc;

use millstream_core::word::Cutter;
use millstream_core::{Batch, EventRef, Word};

/// An event that owns its place in a batch. Cloning costs a reference count.
#[derive(Debug, Clone)]
pub struct Event {
    batch: Arc<Batch>,
    index: u32,
}

/// The words of an event, see [`Event::words`].
#[derive(Debug)]
pub struct Words {
    event: Event,
    at: usize,
}

// === impl Event ===

impl Event {
    pub(crate) fn new(batch: Arc<Batch>, index: usize) -> Self {
        Self { batch, index: index as u32 }
    }

    /// The event in its batch: name, position, headers.
    pub fn as_ref(&self) -> EventRef<'_> {
        self.batch.event(self.index as usize)
    }

    /// The body, as received.
    pub fn body(&self) -> &[u8] {
        self.as_ref().body()
    }

    /// The body as text; undecodable bytes become U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.body())
    }

    /// The value of a header, if the event has it.
    pub fn header(&self, key: &str) -> Option<Cow<'_, str>> {
        self.as_ref().header(key).map(String::from_utf8_lossy)
    }

    /// The words of the body: maximal runs of bytes other than space, \t, \n, \v, \f and \r. Words of up to 23 bytes are
    /// not allocated; undecodable bytes become U+FFFD.
    pub fn words(self) -> Words {
        Words { event: self, at: 0 }
    }
}

impl Iterator for Words {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        let (word, next) = next_word(self.event.body(), self.at)?;
        self.at = next;
        Some(word)
    }

    /// All that are left in one go: the body is found and checked once, not for each word.
    fn fold<B, F: FnMut(B, Word) -> B>(self, init: B, mut f: F) -> B {
        let body = self.event.body().get(self.at..).unwrap_or_default();
        let Ok(text) = std::str::from_utf8(body) else {
            let mut folded = init;
            for word in self {
                folded = f(folded, word);
            }
            return folded;
        };
        let (cutter, mut folded, mut start) = (Cutter::new(text), Some(init), 0);
        for_each_space(body, |end| {
            if start < end {
                folded = folded.take().map(|folded| f(folded, cutter.word(start, end)));
            }
            start = end + 1;
        });
        let folded = folded.expect("put back after each word");
        if start < text.len() { f(folded, cutter.word(start, text.len())) } else { folded }
    }
}

/// The words of `text`, see [`Event::words`].
pub fn words(text: &[u8]) -> impl Iterator<Item = Word> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (word, next) = next_word(text, at)?;
        at = next;
        Some(word)
    })
}

fn next_word(text: &[u8], from: usize) -> Option<(Word, usize)> {
    let rest = text.get(from..)?;
    let start = rest.iter().position(|byte| !is_space(*byte))?;
    let word = &rest[start..];
    let len = word.iter().position(|byte| is_space(*byte)).unwrap_or(word.len());
    let word = &word[..len];
    let text = match std::str::from_utf8(word) {
        Ok(text) => Word::new(text),
        Err(_) => String::from_utf8_lossy(word).into(),
    };
    Some((text, from + start + len))
}

/// Calls `space` with the place of every space in `text`. Eight bytes at a time: most of them are none.
#[inline]
fn for_each_space(text: &[u8], mut space: impl FnMut(usize)) {
    const LOW: u64 = u64::from_ne_bytes([0x21; 8]);
    const HIGH_BITS: u64 = u64::from_ne_bytes([0x80; 8]);
    let (chunks, rest) = text.as_chunks::<8>();
    for (chunk, bytes) in chunks.iter().enumerate() {
        let word = u64::from_le_bytes(*bytes);
        // Bytes below 0x21, and perhaps one of 0x21 above such a byte: each is looked at.
        let mut low = word.wrapping_sub(LOW) & !word & HIGH_BITS;
        while low != 0 {
            let at = (low.trailing_zeros() / 8) as usize;
            low &= low - 1;
            if is_space(bytes[at]) {
                space(chunk * 8 + at);
            }
        }
    }
    let base = text.len() - rest.len();
    rest.iter().enumerate().filter(|(_, byte)| is_space(**byte)).for_each(|(at, _)| space(base + at));
}

/// Space, \t, \n, \v, \f, \r.
#[inline]
fn is_space(byte: u8) -> bool {
    byte == b' ' || byte.wrapping_sub(b'\t') < 5
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words, one by one and all in one go.
    fn words_of(body: &[u8]) -> Vec<String> {
        let event = Event::new(Arc::new(Batch::from_bodies([body])), 0);
        let mut words = Vec::new();
        event.clone().words().for_each(|word| words.push(String::from(word)));
        let mut one_by_one = event.words();
        assert_eq!(std::iter::from_fn(|| one_by_one.next()).map(String::from).collect::<Vec<_>>(), words);
        words
    }

    #[test]
    fn words_are_runs_of_other_bytes_than_the_six_spaces() {
        assert_eq!(words_of(b"  a\tbc\x0b\x0cd\r\n\xc3\xa9\x1c x\xff"), ["a", "bc", "d", "é\u{1c}", "x\u{fffd}"]);
        assert_eq!(words_of(b" a  \xc3\xa9\n last"), ["a", "é", "last"]);
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for len in 0..400 {
            let mut next = || {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                [b' ', b'!', b'a', b'\t', 0, b'\x1f', b'\r', b'~'][(seed % 8) as usize]
            };
            let text: Vec<u8> = (0..len % 40).map(|_| next()).collect();
            words_of(&text);
        }
        assert!(words_of(b" \t ").is_empty() && words_of(b"").is_empty());
        assert_eq!(words(b" \t ").count(), 0);
    }
}
