//! Text to work on: real logs where `MILLSTREAM_CORPUS` names a directory of them, else generated ones.

use std::path::PathBuf;

/// Lines of text, each with its newline.
#[derive(Debug)]
pub struct Corpus {
    /// Where it is from, for the report.
    pub origin: String,
    /// The text, once.
    pub text: Vec<u8>,
}

/// Words of the generated text.
const WORDS: u64 = 18_000;

// === impl Corpus ===

impl Corpus {
    /// Reads or makes it.
    pub fn load() -> Self {
        let Some(dir) = std::env::var_os("MILLSTREAM_CORPUS").map(PathBuf::from) else { return Self::generated() };
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(&dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "log"));
        files.sort();
        let mut text = Vec::new();
        for file in &files {
            text.extend(std::fs::read(file).unwrap_or_default());
            if text.last() != Some(&b'\n') {
                text.push(b'\n');
            }
        }
        if text.len() < 1000 {
            eprintln!("no logs in {}: the corpus is generated", dir.display());
            return Self::generated();
        }
        Self { origin: format!("{} log files of {} bytes", files.len(), text.len()), text }
    }

    /// About as many distinct words as a day of logs has, frequent ones far more often than rare ones.
    fn generated() -> Self {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let mut text = Vec::new();
        while text.len() < 1_500_000 {
            for _ in 0..12 {
                // The product of two dice falls off like the frequency of words.
                let word = (next() % WORDS) * (next() % WORDS) / WORDS;
                text.extend_from_slice(format!("w{word:x} ").as_bytes());
            }
            text.push(b'\n');
        }
        Self { origin: format!("generated, {} bytes", text.len()), text }
    }

    /// The text again and again, at least `bytes` of it.
    pub fn repeated(&self, bytes: usize) -> Vec<u8> {
        self.text.repeat(bytes.div_ceil(self.text.len()))
    }
}

/// `bytes` of lines of `width` bytes, newline included, all different.
pub fn lines(bytes: usize, width: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes + width);
    let mut number = 0_u64;
    while text.len() < bytes {
        let start = text.len();
        text.extend_from_slice(format!("line {number:012} ").as_bytes());
        text.resize(start + width - 1, b'x');
        text.push(b'\n');
        number += 1;
    }
    text
}
