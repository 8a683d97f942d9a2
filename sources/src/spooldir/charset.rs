//! What bytes become when they are not UTF-8 already.

use millstream_core::{Options, Result};

/// The `inputCharset` option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charset {
    Utf8,
    Ascii,
    Latin1,
}

/// The `decodeErrorPolicy` option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Fail,
    Replace,
    Ignore,
}

/// Turns lines into UTF-8.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decoder {
    charset: Charset,
    policy: Policy,
}

/// Bytes that the charset does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Undecodable {
    /// Offset of the first such byte.
    pub(super) at: usize,
    /// That byte.
    pub(super) byte: u8,
}

// === impl Decoder ===

impl Decoder {
    /// # Errors
    /// For a charset that is not built in.
    pub(super) fn from_options(options: &Options) -> Result<Self> {
        let charset = match options.text("inputCharset")?.to_ascii_uppercase().replace('_', "-").as_str() {
            "UTF-8" | "UTF8" => Charset::Utf8,
            "US-ASCII" | "ASCII" => Charset::Ascii,
            "ISO-8859-1" | "ISO8859-1" | "LATIN1" | "LATIN-1" => Charset::Latin1,
            other => {
                let problem = format!("expected UTF-8, US-ASCII or ISO-8859-1, got {other:?}; convert the files first");
                return Err(options.refuse("inputCharset", problem));
            }
        };
        let policy = match options.text("decodeErrorPolicy")?.to_ascii_uppercase().as_str() {
            "REPLACE" => Policy::Replace,
            "IGNORE" => Policy::Ignore,
            _ => Policy::Fail,
        };
        Ok(Self { charset, policy })
    }

    /// Whether `bytes`, whole lines, can be taken as they are.
    pub(super) fn passes(&self, bytes: &[u8]) -> bool {
        match self.charset {
            Charset::Utf8 => std::str::from_utf8(bytes).is_ok(),
            Charset::Ascii | Charset::Latin1 => bytes.is_ascii(),
        }
    }

    /// Appends `line` to `out` as UTF-8.
    ///
    /// # Errors
    /// [`Undecodable`] when the policy is to fail; `out` is as before then.
    pub(super) fn decode(&self, line: &[u8], out: &mut Vec<u8>) -> Result<(), Undecodable> {
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

    fn bad(&self, out: &mut Vec<u8>, bad: Undecodable) -> Result<(), Undecodable> {
        match self.policy {
            Policy::Fail => return Err(bad),
            Policy::Replace => out.extend_from_slice("\u{FFFD}".as_bytes()),
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
}
