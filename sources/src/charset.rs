//! What bytes become when they are not UTF-8 already.

use encoding_rs::Encoding;
use millstream_core::{Options, Result};

/// A character set in which a newline is a newline, whatever stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charset {
    Utf8,
    Ascii,
    Latin1,
    /// As browsers read it.
    Other(&'static Encoding),
}

/// What becomes of bytes that the charset does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// The line is refused.
    Fail,
    /// U+FFFD takes their place.
    Replace,
    /// They are left out.
    Ignore,
    /// They stay as they are, where the charset is UTF-8; else as `Replace`.
    Keep,
}

/// Turns lines into UTF-8.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decoder {
    charset: Charset,
    policy: Policy,
}

/// Bytes that the charset does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Undecodable {
    /// Offset of the first such byte.
    pub(crate) at: usize,
    /// That byte.
    pub(crate) byte: u8,
}

// === impl Decoder ===

impl Decoder {
    /// From the `inputCharset` and `decodeErrorPolicy` options.
    ///
    /// # Errors
    /// For a charset that is not built in.
    pub(crate) fn from_options(options: &Options) -> Result<Self> {
        let policy = match options.text("decodeErrorPolicy")?.to_ascii_uppercase().as_str() {
            "REPLACE" => Policy::Replace,
            "IGNORE" => Policy::Ignore,
            _ => Policy::Fail,
        };
        Self::new(options.text("inputCharset")?, policy).map_err(|problem| options.refuse("inputCharset", problem))
    }

    /// # Errors
    /// What was expected, for a charset that is not built in.
    pub(crate) fn new(charset: &str, policy: Policy) -> Result<Self, String> {
        let charset = match charset.to_ascii_uppercase().replace('_', "-").as_str() {
            "UTF-8" | "UTF8" => Charset::Utf8,
            "US-ASCII" | "ASCII" => Charset::Ascii,
            "ISO-8859-1" | "ISO8859-1" | "LATIN1" | "LATIN-1" => Charset::Latin1,
            _ => match Encoding::for_label(charset.as_bytes()) {
                Some(encoding) if encoding.is_ascii_compatible() => Charset::Other(encoding),
                _ => {
                    let wanted = "expected UTF-8, US-ASCII, ISO-8859-1 or another charset that contains ASCII";
                    return Err(format!("{wanted}, got {charset:?}; convert the input first"));
                }
            },
        };
        Ok(Self { charset, policy })
    }

    /// Whether `bytes`, whole lines, can be taken as they are.
    pub(crate) fn passes(&self, bytes: &[u8]) -> bool {
        match self.charset {
            Charset::Utf8 => self.policy == Policy::Keep || std::str::from_utf8(bytes).is_ok(),
            Charset::Ascii | Charset::Latin1 | Charset::Other(_) => bytes.is_ascii(),
        }
    }

    /// Appends `line` to `out` as UTF-8.
    ///
    /// # Errors
    /// [`Undecodable`] when the policy is to fail; `out` is as before then.
    pub(crate) fn decode(&self, line: &[u8], out: &mut Vec<u8>) -> Result<(), Undecodable> {
        let before = out.len();
        let decoded = match self.charset {
            Charset::Latin1 => {
                let mut utf8 = [0; 4];
                line.iter().for_each(|byte| out.extend_from_slice(char::from(*byte).encode_utf8(&mut utf8).as_bytes()));
                Ok(())
            }
            Charset::Ascii => line.iter().enumerate().try_for_each(|(at, byte)| {
                if byte.is_ascii() {
                    out.push(*byte);
                    return Ok(());
                }
                self.bad(out, Undecodable { at, byte: *byte })
            }),
            Charset::Utf8 => self.decode_utf8(line, out),
            Charset::Other(encoding) => self.decode_other(encoding, line, out),
        };
        if decoded.is_err() {
            out.truncate(before);
        }
        decoded
    }

    fn decode_utf8(&self, line: &[u8], out: &mut Vec<u8>) -> Result<(), Undecodable> {
        let mut at = 0;
        for chunk in line.utf8_chunks() {
            out.extend_from_slice(chunk.valid().as_bytes());
            at += chunk.valid().len();
            if let Some(byte) = chunk.invalid().first() {
                self.bad(out, Undecodable { at, byte: *byte })?;
                at += chunk.invalid().len();
            }
        }
        Ok(())
    }

    fn decode_other(&self, encoding: &'static Encoding, line: &[u8], out: &mut Vec<u8>) -> Result<(), Undecodable> {
        if let Some(text) = encoding.decode_without_bom_handling_and_without_replacement(line) {
            out.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        if self.policy == Policy::Fail {
            let at = (0..line.len()).find(|end| {
                let (_, bad) = encoding.decode_without_bom_handling(&line[..=*end]);
                bad && encoding.decode_without_bom_handling_and_without_replacement(&line[..*end]).is_some()
            });
            let at = at.unwrap_or(0);
            return Err(Undecodable { at, byte: line[at] });
        }
        let (text, _) = encoding.decode_without_bom_handling(line);
        match self.policy {
            Policy::Ignore => out.extend_from_slice(text.replace('\u{FFFD}', "").as_bytes()),
            _ => out.extend_from_slice(text.as_bytes()),
        }
        Ok(())
    }

    fn bad(&self, out: &mut Vec<u8>, bad: Undecodable) -> Result<(), Undecodable> {
        match self.policy {
            Policy::Fail => return Err(bad),
            Policy::Replace | Policy::Keep => out.extend_from_slice("\u{FFFD}".as_bytes()),
            Policy::Ignore => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(charset: Charset, policy: Policy, line: &[u8]) -> Result<String, Undecodable> {
        let mut out = Vec::new();
        Decoder { charset, policy }.decode(line, &mut out)?;
        Ok(String::from_utf8(out).expect("what comes out is UTF-8"))
    }

    #[test]
    fn each_policy_does_what_its_name_says() {
        let line = b"a\xFFb\xE2\x82c";
        assert_eq!(decoded(Charset::Utf8, Policy::Replace, line).expect("replaced"), "a\u{FFFD}b\u{FFFD}c");
        assert_eq!(decoded(Charset::Utf8, Policy::Ignore, line).expect("ignored"), "abc");
        assert_eq!(decoded(Charset::Utf8, Policy::Fail, line), Err(Undecodable { at: 1, byte: 0xFF }));
        assert_eq!(decoded(Charset::Ascii, Policy::Fail, b"ab\xC3\xA4"), Err(Undecodable { at: 2, byte: 0xC3 }));
        assert_eq!(decoded(Charset::Ascii, Policy::Ignore, b"ab\xC3\xA4").expect("ignored"), "ab");
    }

    #[test]
    fn latin_1_has_a_character_for_every_byte() {
        assert_eq!(decoded(Charset::Latin1, Policy::Fail, b"gr\xFC\xDFe").expect("decoded"), "grüße");
    }

    #[test]
    fn other_charsets_are_those_that_contain_ascii() {
        let gbk = |policy| Decoder::new("GBK", policy).expect("built in");
        let mut out = Vec::new();
        gbk(Policy::Fail).decode(b"a\xC4\xE3\xBA\xC3", &mut out).expect("decoded");
        assert_eq!(out, "a你好".as_bytes());
        assert_eq!(gbk(Policy::Fail).decode(b"ab\xFF", &mut out), Err(Undecodable { at: 2, byte: 0xFF }));
        gbk(Policy::Replace).decode(b"!\xFF", &mut out).expect("replaced");
        assert_eq!(out, "a你好!\u{FFFD}".as_bytes());
        assert!(gbk(Policy::Fail).passes(b"ab") && !gbk(Policy::Fail).passes(b"\xC4\xE3"));
        for name in ["UTF-16", "UTF-16LE", "ISO-2022-JP", "klingon"] {
            let problem = Decoder::new(name, Policy::Fail).expect_err("refused");
            assert!(problem.contains(name), "{problem}");
        }
    }
}
