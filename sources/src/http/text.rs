//! The charsets of bodies: UTF-8, UTF-16, UTF-32.

use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;

use super::Refusal;

/// How the text of a body is read, and how the texts within are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Charset {
    Utf8,
    /// Read so, written as UTF-8: what Jetty and the handler make of a request that names none.
    Latin1,
    Utf16,
    Utf32,
}

// === impl Charset ===

impl Charset {
    /// The charset of a request.
    ///
    /// # Errors
    /// For one that is not served.
    pub(super) fn of(head: &Parts) -> Result<Self, Refusal> {
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (media_type, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
        let named = parameters.split(';').find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_ascii_lowercase())
        });
        match named.as_deref() {
            Some("utf-8") => Ok(Self::Utf8),
            Some("utf-16") => Ok(Self::Utf16),
            Some("utf-32") => Ok(Self::Utf32),
            Some(other) => Err(Refusal {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                text: format!("expected the charset utf-8, utf-16 or utf-32, got {other:?}"),
            }),
            None if media_type.trim().eq_ignore_ascii_case("application/json") => Ok(Self::Utf8),
            None => Ok(Self::Latin1),
        }
    }

    /// The text of a body, as Java reads it: what is no text becomes U+FFFD, a byte order mark is left out.
    pub(super) fn decode(self, bytes: &[u8]) -> String {
        let text = match self {
            Self::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
            Self::Latin1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
            Self::Utf16 => {
                let (bytes, unit): (_, fn([u8; 2]) -> u16) = match bytes {
                    [0xFF, 0xFE, rest @ ..] => (rest, u16::from_le_bytes),
                    _ => (bytes, u16::from_be_bytes),
                };
                let (units, rest) = bytes.as_chunks::<2>();
                let lost = (!rest.is_empty()).then_some(char::REPLACEMENT_CHARACTER);
                let chars = char::decode_utf16(units.iter().map(|two| unit(*two)));
                chars.map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)).chain(lost).collect()
            }
            Self::Utf32 => {
                let (bytes, unit): (_, fn([u8; 4]) -> u32) = match bytes {
                    [0xFF, 0xFE, 0, 0, rest @ ..] => (rest, u32::from_le_bytes),
                    _ => (bytes, u32::from_be_bytes),
                };
                let (units, rest) = bytes.as_chunks::<4>();
                let lost = (!rest.is_empty()).then_some(char::REPLACEMENT_CHARACTER);
                let chars = units.iter().map(|four| char::from_u32(unit(*four)));
                chars.map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)).chain(lost).collect::<String>()
            }
        };
        match text.strip_prefix('\u{FEFF}') {
            Some(rest) => rest.to_owned(),
            None => text,
        }
    }

    /// The bytes of an event's body, as Java writes them: UTF-16 with a byte order mark, UTF-32 without.
    pub(super) fn encode(self, text: &str) -> Vec<u8> {
        match self {
            Self::Utf8 | Self::Latin1 => text.into(),
            Self::Utf16 if text.is_empty() => Vec::new(),
            Self::Utf16 => [0xFEFF].into_iter().chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect(),
            Self::Utf32 => text.chars().flat_map(|char| u32::from(char).to_be_bytes()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use hyper::Request;

    fn of(content_type: Option<&str>) -> Result<Charset, u16> {
        let mut request = Request::new(());
        if let Some(value) = content_type {
            request.headers_mut().insert(CONTENT_TYPE, value.parse().unwrap());
        }
        Charset::of(&request.into_parts().0).map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn the_charset_is_that_of_the_request_or_what_jetty_takes_for_it() {
        assert_eq!(of(None), Ok(Charset::Latin1));
        assert_eq!(of(Some("text/plain")), Ok(Charset::Latin1));
        assert_eq!(of(Some("application/json")), Ok(Charset::Utf8));
        assert_eq!(of(Some("text/plain; a=b; Charset=\"UTF-16\"")), Ok(Charset::Utf16));
        assert_eq!(of(Some("application/json;charset=utf-32")), Ok(Charset::Utf32));
        assert_eq!(of(Some("application/json;charset=iso-8859-1")), Err(500));
    }

    #[test]
    fn texts_are_read_and_written_as_java_does() {
        let text = "a€😀";
        for charset in [Charset::Utf8, Charset::Utf16, Charset::Utf32] {
            assert_eq!(charset.decode(&charset.encode(text)), text, "{charset:?}");
        }
        assert_eq!(Charset::Utf16.encode("a"), [0xFE, 0xFF, 0, b'a']);
        assert_eq!(Charset::Utf32.encode("a"), [0, 0, 0, b'a']);
        assert_eq!(Charset::Utf16.decode(&[0xFF, 0xFE, b'a', 0]), "a");
        assert_eq!(Charset::Utf16.decode(&[0, b'a', 0xD8, 0, 1]), "a\u{FFFD}\u{FFFD}");
        assert_eq!(Charset::Utf32.decode(&[0xFF, 0xFE, 0, 0, b'a', 0, 0, 0]), "a");
        assert_eq!(Charset::Latin1.decode(b"gr\xFC\xDFe"), "grüße");
        assert_eq!(Charset::Utf8.decode(b"\xEF\xBB\xBFa\xFF"), "a\u{FFFD}");
    }
}
