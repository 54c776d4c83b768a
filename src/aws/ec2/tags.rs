//! The names and tags that tell our resources from everybody else's.
//!
//! A resource is ours if its name begins with [`PREFIX`] or if it carries one of our tags ([`is_ours`]); nothing else
//! is ever touched. Deliberately absent: decisions about who of us owns it, beyond reading [`OWNER`].

use std::fmt;
use std::str::FromStr;

use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};
use jiff::Timestamp;
use model::base::id::{MachineId, RunId};
use model::purge::names_somebody;

/// The prefix of all our names.
pub const PREFIX: &str = "hg-";

/// The prefix of all our tag keys except [`NAME`] and [`FINGERPRINT`].
pub const KEY_PREFIX: &str = "hg:";

/// The tag that the AWS console shows as the name.
pub const NAME: &str = "Name";
/// The person who made it: `user@host` of the driver.
pub const OWNER: &str = "hg:owner";
/// The run that made it.
pub const RUN: &str = "hg:run";
/// The machine that it belongs to.
pub const MACHINE: &str = "hg:machine";
/// When it ends at the latest: RFC 3339 in UTC, whole seconds.
pub const EXPIRES: &str = "hg:expires";
/// The version of this program that made it.
pub const VERSION: &str = "hg:version";
/// The id of the state directory whose journal names it.
pub const STATE: &str = "hg:state";
/// The distribution that an image holds.
pub const DISTRO: &str = "hg:distro";
/// How long the making of an image took, in seconds.
pub const SECONDS: &str = "hg:seconds";
/// The machine whose state an image is.
pub const SNAPSHOT_OF: &str = "hg:snapshot-of";
/// The image that this machine was booted from.
pub const SNAPSHOT_IMAGE: &str = "hg:snapshot-image";
/// The system of machines that boot from it, and who logs in: `linux hg`.
pub const SNAPSHOT_LOGIN: &str = "hg:snapshot-login";
/// The values of the parameters of its image's definition: `NAME=VALUE`, separated by blanks.
pub const SNAPSHOT_VALUES: &str = "hg:snapshot-values";
/// The fingerprint of an image; the predecessor of this tool used the same key.
pub const FINGERPRINT: &str = "HGIMAGEFINGERPRINT";

/// The key pair of an account with one user.
pub const KEY_PAIR: &str = "hg-automation";
/// The security group of Linux machines.
pub const LINUX_GROUP: &str = "hg-linux-dev-1";
/// The security group of Windows machines.
pub const WINDOWS_GROUP: &str = "hg-windows-dev-1";
/// The security group of machines that are reached without SSH.
pub const MANAGED_GROUP: &str = "hg-managed-1";
/// The role of machines that Systems Manager reaches.
pub const ROLE: &str = "hg-ephemeral-ec2-role-1";
/// The instance profile that hands [`ROLE`] to a machine.
pub const INSTANCE_PROFILE: &str = "hg-ephemeral-ec2-1";

/// The longest value of a tag, in characters.
const VALUE_CAP: usize = 256;

/// The word in place of the region in the row name of a resource without a region.
const GLOBAL: &str = "iam";

/// Whether a resource with this name and these tag keys is ours. `name` is the `Name` tag, or the proper name if the
/// resource has one (key pair, group, role).
pub fn is_ours<'a>(name: Option<&str>, keys: impl IntoIterator<Item = &'a str>) -> bool {
    let named = name.is_some_and(|name| name.starts_with(PREFIX));
    named || keys.into_iter().any(|key| key.starts_with(KEY_PREFIX) || key == FINGERPRINT)
}

/// The value of the tag `key`.
pub fn value<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter().find(|tag| tag.key() == Some(key)).and_then(Tag::value)
}

/// The owner by the tag [`OWNER`]. A blank tag counts as missing.
pub fn owner(tags: &[Tag]) -> Option<&str> {
    value(tags, OWNER).filter(|owner| names_somebody(owner))
}

/// The keys of `tags`.
pub fn keys(tags: &[Tag]) -> impl Iterator<Item = &str> {
    tags.iter().filter_map(Tag::key)
}

/// A tag; a value that is too long for a tag is cut.
pub fn tag(key: &str, value: &str) -> Tag {
    let value: String = value.chars().take(VALUE_CAP).collect();
    Tag::builder().key(key).value(value).build()
}

/// The specification that a call puts `tags` on the resources of `kind` that it makes.
pub fn specification(kind: ResourceType, tags: &[Tag]) -> TagSpecification {
    TagSpecification::builder().resource_type(kind).set_tags(Some(tags.to_vec())).build()
}

/// A time in the form that tags hold: RFC 3339 in UTC, whole seconds.
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The values of the tags of a machine and its parts.
#[derive(Debug, Clone, Copy)]
pub struct MachineTags<'a> {
    /// Its id.
    pub machine: &'a MachineId,
    /// The run that makes the machine.
    pub run: &'a RunId,
    /// The person who runs the tool.
    pub owner: &'a str,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
    /// The state directory whose journal names it.
    pub state_id: &'a str,
}

impl MachineTags<'_> {
    /// The tags for the instance, its volumes, its interfaces and its spot request.
    pub fn tags(&self) -> Vec<Tag> {
        vec![
            tag(NAME, self.machine.as_str()),
            tag(OWNER, self.owner),
            tag(RUN, self.run.as_str()),
            tag(MACHINE, self.machine.as_str()),
            tag(EXPIRES, &time(self.expires_at)),
            tag(VERSION, env!("CARGO_PKG_VERSION")),
            tag(STATE, self.state_id),
        ]
    }
}

/// The values of the tags of an image and its snapshots.
#[derive(Debug, Clone, Copy)]
pub struct ImageTags<'a> {
    /// The image's name.
    pub name: &'a str,
    /// The fingerprint of its uppermost layer.
    pub fingerprint: &'a str,
    /// The person who baked it.
    pub owner: &'a str,
    /// The distribution that it holds.
    pub distro: &'a str,
    /// The id of that person's state directory.
    pub state_id: &'a str,
}

impl ImageTags<'_> {
    /// The tags for the image and its snapshots.
    pub fn tags(&self) -> Vec<Tag> {
        vec![
            tag(NAME, self.name),
            tag(FINGERPRINT, self.fingerprint),
            tag(OWNER, self.owner),
            tag(VERSION, env!("CARGO_PKG_VERSION")),
            tag(DISTRO, self.distro),
            tag(STATE, self.state_id),
        ]
    }
}

/// The tags of resources that outlive every run: key pairs, security groups and, through [`to_iam_tags`], roles and
/// instance profiles.
pub fn shared_tags(owner: &str) -> Vec<Tag> {
    vec![tag(OWNER, owner), tag(VERSION, env!("CARGO_PKG_VERSION"))]
}

/// The same tags for IAM, which accepts letters, digits, blanks and `_.:/=+-@` in a value: anything else becomes `_`.
pub fn to_iam_tags(tags: &[Tag]) -> Vec<aws_sdk_iam::types::Tag> {
    let allowed = |c: char| c.is_alphanumeric() || " _.:/=+-@".contains(c);
    let make = |tag: &Tag| {
        let value: String = tag.value()?.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
        aws_sdk_iam::types::Tag::builder().key(tag.key()?).value(value).build().ok()
    };
    tags.iter().filter_map(make).collect()
}

/// `owner` as a part of a name: lower-case letters, digits and single hyphens.
pub fn to_name(owner: &str) -> String {
    let plain: String = owner.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    plain.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

/// The name of a row of the journal, which says where a resource is and how it is called there: `ACCOUNT/REGION/NAME`,
/// or `ACCOUNT/iam/NAME` for a resource without a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowName {
    /// The account's twelve digits.
    pub account: String,
    /// The region; `None` for IAM.
    pub region: Option<String>,
    /// The resource's name there.
    pub name: String,
}

impl RowName {
    /// The row name of a resource in a region.
    pub fn regional(account: &str, region: &str, name: impl Into<String>) -> Self {
        Self { account: account.to_owned(), region: Some(region.to_owned()), name: name.into() }
    }

    /// The row name of a resource of IAM.
    pub fn global(account: &str, name: impl Into<String>) -> Self {
        Self { account: account.to_owned(), region: None, name: name.into() }
    }
}

impl fmt::Display for RowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.account, self.region.as_deref().unwrap_or(GLOBAL), self.name)
    }
}

/// The error for a text that is not a [`RowName`].
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not ACCOUNT/REGION/NAME")]
pub struct InvalidRowName(String);

impl FromStr for RowName {
    type Err = InvalidRowName;

    fn from_str(text: &str) -> Result<Self, InvalidRowName> {
        let mut parts = text.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(account), Some(region), Some(name)) if ![account, region, name].contains(&"") => Ok(Self {
                account: account.to_owned(),
                region: (region != GLOBAL).then(|| region.to_owned()),
                name: name.to_owned(),
            }),
            _ => Err(InvalidRowName(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_what_has_the_prefix_or_a_tag_of_ours() {
        assert!(is_ours(Some("hg-abc"), []));
        assert!(is_ours(None, ["Name", OWNER]));
        assert!(is_ours(Some("web"), [FINGERPRINT]));
        for name in ["hgweb", "my-hg-abc", "HG-abc", "hg", ""] {
            assert!(!is_ours(Some(name), ["Name", "owner", "hg", "xhg:owner", "hgimagefingerprint"]), "{name}");
        }
        assert!(!is_ours(None, []));
    }

    #[test]
    fn the_tags_of_a_machine_are_those_that_the_rule_knows() {
        let machine = "hg-0123456789".parse::<MachineId>().unwrap();
        let run = RunId::new(Timestamp::UNIX_EPOCH);
        let at = "2026-11-20T10:53:01.75Z".parse().unwrap();
        let tags = MachineTags { machine: &machine, run: &run, owner: "me@here", expires_at: at, state_id: "s" }.tags();
        assert!(is_ours(None, keys(&tags)));
        assert_eq!(value(&tags, NAME), Some("hg-0123456789"));
        assert_eq!(value(&tags, EXPIRES), Some("2026-11-20T10:53:01Z"));
        assert_eq!(value(&tags, "hg:nothing"), None);
        assert_eq!(owner(&tags), Some("me@here"));
        for blank in ["", " ", "\t"] {
            assert_eq!(owner(&[tag(OWNER, blank)]), None, "{blank:?}");
        }
        let image = ImageTags { name: "hg-x", fingerprint: "f", owner: "me", distro: "debian12", state_id: "s" }.tags();
        assert!(is_ours(None, keys(&image)) && value(&image, FINGERPRINT) == Some("f"));
        assert!(is_ours(None, keys(&shared_tags("me"))));
    }

    #[test]
    fn a_row_name_reads_back() {
        for text in ["123456789012/us-west-2/hg-abc-root", "123456789012/iam/hg-ephemeral-ec2-role-1"] {
            assert_eq!(text.parse::<RowName>().unwrap().to_string(), text);
        }
        assert_eq!("1/iam/r".parse::<RowName>().unwrap(), RowName::global("1", "r"));
        assert_eq!("1/eu-west-1/r".parse::<RowName>().unwrap(), RowName::regional("1", "eu-west-1", "r"));
        for bad in ["", "hg-abc", "1/us-west-2", "1//x", "/us-west-2/x", "1/us-west-2/"] {
            assert!(bad.parse::<RowName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn values_fit_where_they_go() {
        assert_eq!(tag("k", &"é".repeat(300)).value().unwrap().chars().count(), VALUE_CAP);
        assert_eq!(to_iam_tags(&[tag("k", "a b(c)@d*e")])[0].value(), "a b_c_@d_e");
        assert_eq!(to_name("Jo.Doe@my--Host.example"), "jo-doe-my-host-example");
    }
}
