//! Which clients may connect, by address or name.
//!
//! # Layout
//! Rules apart by commas, each `<allow|deny>:<ip|name>:<pattern>`; in a pattern `*` is any run of characters and `?` one.
//! `ip` is matched with the address as text, `name` with the name that the resolver gives for it; the name `localhost` with
//! loopback addresses.

use std::net::IpAddr;

use millstream_core::{Options, Result};
use regex::Regex;

/// The rules, first one first.
#[derive(Debug, Clone, Default)]
pub(super) struct IpFilter {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    allow: bool,
    by: By,
    pattern: Regex,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Address,
    Name,
}

// === impl IpFilter ===

impl IpFilter {
    /// # Errors
    /// `Config` for a filter without rules and for a rule that is none.
    pub(super) fn from_options(options: &Options) -> Result<Self> {
        if !options.bool("ipFilter")? {
            return Ok(Self::default());
        }
        let text = options.text("ipFilterRules").map_err(|_| {
            options.refuse(
                "ipFilterRules",
                "missing; with ipFilter = true, expected rules such as allow:ip:127.*,deny:ip:*",
            )
        })?;
        let rules: Result<Vec<Rule>, String> = text.split(',').map(|rule| Rule::parse(rule.trim())).collect();
        Ok(Self { rules: rules.map_err(|problem| options.refuse("ipFilterRules", problem))? })
    }

    /// Whether a client of this address may connect; the first rule that matches decides.
    pub(super) async fn admits(&self, address: IpAddr) -> bool {
        let text = address.to_string();
        let mut name = None;
        for rule in &self.rules {
            let matches = match rule.by {
                By::Address => rule.pattern.is_match(&text),
                By::Name => {
                    if name.is_none() {
                        name = Some(look_up(address).await);
                    }
                    name.iter().flatten().any(|name| rule.pattern.is_match(name))
                }
            };
            if matches {
                return rule.allow;
            }
        }
        true
    }
}

impl Rule {
    fn parse(rule: &str) -> Result<Self, String> {
        let wanted = || format!("expected <allow|deny>:<ip|name>:<pattern>, got {rule:?}");
        let mut parts = rule.splitn(3, ':');
        let (Some(verdict), Some(by), Some(pattern)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wanted());
        };
        let allow = match verdict {
            "allow" => true,
            "deny" => false,
            _ => return Err(wanted()),
        };
        let by = match by {
            "ip" => By::Address,
            "name" => By::Name,
            _ => return Err(wanted()),
        };
        if pattern.is_empty() {
            return Err(wanted());
        }
        let pattern = regex::escape(pattern).replace(r"\*", ".*").replace(r"\?", ".");
        let pattern = Regex::new(&format!("^{pattern}$")).map_err(|error| format!("{rule:?}: {error}"))?;
        Ok(Self { allow, by, pattern })
    }
}

/// Names of an address: what the resolver says, and `localhost` for this machine.
async fn look_up(address: IpAddr) -> Vec<String> {
    // The system's resolver blocks.
    let found = tokio::task::spawn_blocking(move || dns_lookup::lookup_addr(&address).ok()).await;
    let mut names: Vec<String> = found.ok().flatten().into_iter().collect();
    if address.is_loopback() {
        names.push("localhost".to_owned());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(rules: &str) -> Result<IpFilter, String> {
        rules.split(',').map(Rule::parse).collect::<Result<_, _>>().map(|rules| IpFilter { rules })
    }

    async fn admitted(rules: &str, address: &str) -> bool {
        filter(rules).expect("rules").admits(address.parse().expect("an address")).await
    }

    #[tokio::test]
    async fn the_first_rule_that_matches_decides_and_without_one_a_client_is_admitted() {
        for (rules, address, expected) in [
            ("allow:ip:127.*,deny:ip:*", "127.0.0.1", true),
            ("allow:ip:127.*,deny:ip:*", "10.1.2.3", false),
            ("deny:ip:127.*,allow:ip:*", "127.0.0.1", false),
            ("deny:ip:10.0.0.?", "10.0.0.7", false),
            ("deny:ip:10.0.0.?", "10.0.0.17", true),
            ("deny:ip:10.0.0.1", "10.0.0.11", true),
            ("deny:ip:::1", "::1", false),
            ("allow:name:localhost,deny:ip:*", "127.0.0.1", true),
            ("allow:name:localhost,deny:ip:*", "192.0.2.1", false),
        ] {
            assert_eq!(admitted(rules, address).await, expected, "{rules} {address}");
        }
    }

    #[test]
    fn a_rule_that_is_none_is_refused() {
        for rule in ["", "allow", "allow:ip", "permit:ip:*", "allow:host:*", "ALLOW:ip:*", "allow:ip:"] {
            assert!(filter(rule).is_err_and(|error| error.contains("<allow|deny>:<ip|name>:<pattern>")), "{rule}");
        }
    }
}
