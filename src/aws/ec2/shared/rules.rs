//! The rules of a security group and the changes that they need: pure.
//!
//! The tags of our rules say who owns a rule and until when it is needed. EC2 itself never expires rules, and the same
//! owner may have machines that were launched from another network an hour ago; so a rule is removed only if its range
//! is not among its owner's present addresses and its time is over. Two owners behind one address share a rule, because
//! EC2 refuses a duplicate: each of them extends its expiry as needed.

use aws_sdk_ec2::types::SecurityGroupRule;
use ipnet::IpNet;
use jiff::Timestamp;

use crate::ec2::address;
use crate::ec2::tags;

/// The only port that rules open.
pub(crate) const PORT: u16 = 22;

/// The prefix of the descriptions of our rules.
const MARK: &str = "hg-automation ";

/// How many characters a description may have.
const DESCRIPTION_CAP: usize = 255;

/// The description of a rule of `owner`, with only the characters that EC2 accepts.
pub(crate) fn description(owner: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    let owner = owner.chars().map(|c| if allowed(c) { c } else { '_' });
    MARK.chars().chain(owner).take(DESCRIPTION_CAP).collect()
}

/// An inbound rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IngressRule {
    /// `sgr-…`
    pub id: String,
    /// Whether it opens port 22 of TCP and nothing else.
    pub port_only: bool,
    /// The range that it lets in; `None` for a rule that names a group or a prefix list.
    pub from: Option<IpNet>,
    /// The owner by its tag.
    pub owner: Option<String>,
    /// Its description.
    pub described: String,
    /// Until when it is needed, by its tag.
    pub expires: Option<Timestamp>,
}

impl IngressRule {
    /// The rule in an answer; `None` for an outbound rule.
    pub(crate) fn of(rule: &SecurityGroupRule) -> Option<Self> {
        if rule.is_egress == Some(true) {
            return None;
        }
        let from = rule.cidr_ipv4().or(rule.cidr_ipv6());
        Some(Self {
            id: rule.security_group_rule_id.clone()?,
            port_only: rule.ip_protocol() == Some("tcp")
                && rule.from_port == Some(PORT.into())
                && rule.to_port == Some(PORT.into()),
            from: from.and_then(address::parse),
            owner: tags::owner(rule.tags()).map(str::to_owned),
            described: rule.description().unwrap_or_default().to_owned(),
            expires: tags::value(rule.tags(), tags::EXPIRES).and_then(|text| text.parse().ok()),
        })
    }

    /// Whether it belongs to `owner`. The description counts too, because an interrupted call may have left no tag.
    fn is_owned_by(&self, owner: &str) -> bool {
        match &self.owner {
            Some(tagged) => tagged == owner,
            None => self.described == description(owner),
        }
    }

    /// Whether it belongs to anybody who uses this program.
    fn is_ours(&self) -> bool {
        self.owner.is_some() || self.described.starts_with(MARK)
    }
}

/// The changes to make to a group.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Rules to remove, by id.
    pub revoke: Vec<String>,
    /// Ranges to let in.
    pub add: Vec<IpNet>,
    /// Rules whose expiry is to be extended, by id.
    pub extend: Vec<String>,
    /// Rules of others that open more than port 22, for a warning.
    pub wide: Vec<String>,
}

/// The changes that make `rules` let `owner` in from `wanted` until `until`, and that remove the rules that the owner
/// no longer needs.
pub(crate) fn changes(
    rules: &[IngressRule],
    wanted: &[IpNet],
    owner: &str,
    now: Timestamp,
    until: Timestamp,
) -> Changes {
    let mut changes = Changes::default();
    let late_enough = |rule: &IngressRule| rule.expires.is_some_and(|expires| expires >= until);
    for rule in rules {
        let is_wanted = rule.port_only && rule.from.is_some_and(|from| wanted.contains(&from));
        let over = rule.expires.is_none_or(|expires| expires <= now);
        if is_wanted {
            // A rule of somebody who does not use this program stays as it is: it has no expiry.
            if rule.is_ours() && !late_enough(rule) {
                changes.extend.push(rule.id.clone());
            }
        } else if rule.is_owned_by(owner) && (!rule.port_only || over) {
            changes.revoke.push(rule.id.clone());
        } else if !rule.port_only && !rule.is_owned_by(owner) {
            changes.wide.push(rule.id.clone());
        }
    }
    let is_let_in = |range: &&IpNet| rules.iter().any(|rule| rule.port_only && rule.from == Some(**range));
    changes.add = wanted.iter().filter(|range| !is_let_in(range)).copied().collect();
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: &str = "me@here";

    fn at(text: &str) -> Timestamp {
        format!("2026-11-20T{text}:00Z").parse().unwrap()
    }

    fn range(address: &str) -> IpNet {
        address.parse().unwrap_or_else(|_| address.parse::<std::net::IpAddr>().unwrap().into())
    }

    fn rule(id: &str, from: &str, owner: &str, expires: Option<&str>) -> IngressRule {
        IngressRule {
            id: id.into(),
            port_only: true,
            from: Some(range(from)),
            owner: (!owner.is_empty()).then(|| owner.to_owned()),
            described: if owner.is_empty() { String::new() } else { description(owner) },
            expires: expires.map(at),
        }
    }

    fn of(rules: &[IngressRule]) -> Changes {
        changes(rules, &[range("192.0.2.1")], ME, at("10:00"), at("12:00"))
    }

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn what_is_missing_is_put_back_and_what_is_there_is_left() {
        assert_eq!(of(&[]).add.len(), 1);
        assert_eq!(of(&[rule("a", "192.0.2.1", ME, Some("12:00"))]), Changes::default());
        let short = of(&[rule("a", "192.0.2.1", ME, Some("11:59"))]);
        assert_eq!(short, Changes { extend: ids(&["a"]), ..Changes::default() });
    }

    #[test]
    fn only_what_is_over_and_of_the_same_owner_is_removed() {
        let rules = [
            rule("a", "192.0.2.1", ME, Some("13:00")),
            rule("over", "198.51.100.1", ME, Some("10:00")),
            rule("endless", "198.51.100.2", ME, None),
            rule("in-use", "198.51.100.3", ME, Some("10:01")),
            rule("theirs", "198.51.100.4", "you@there", Some("09:00")),
            rule("strangers", "198.51.100.5", "", None),
        ];
        assert_eq!(of(&rules), Changes { revoke: ids(&["over", "endless"]), ..Changes::default() });
    }

    #[test]
    fn a_rule_that_lost_its_tag_is_known_by_its_description() {
        let lost = IngressRule { owner: None, described: description(ME), ..rule("a", "198.51.100.1", ME, None) };
        assert_eq!(of(&[lost]).revoke, ids(&["a"]));
        assert_eq!(description("a<b>@c"), "hg-automation a_b_@c");
    }

    #[test]
    fn one_address_of_two_owners_is_one_rule() {
        let changes = of(&[rule("theirs", "192.0.2.1", "you@there", Some("10:30"))]);
        assert_eq!(changes, Changes { extend: ids(&["theirs"]), ..Changes::default() });
        assert_eq!(of(&[rule("strangers", "192.0.2.1", "", None)]), Changes::default());
    }

    #[test]
    fn more_than_port_22_is_removed_from_ours_and_told_of_others() {
        let wide =
            |owner: &str, id: &str| IngressRule { port_only: false, ..rule(id, "0.0.0.0/0", owner, Some("20:00")) };
        let changes = of(&[wide(ME, "mine"), wide("", "theirs"), wide("you@there", "yours")]);
        assert_eq!((changes.revoke, changes.wide), (ids(&["mine"]), ids(&["theirs", "yours"])));
        assert_eq!(changes.add.len(), 1);
    }
}
