//! Filters of describe calls. Several filters of one call are joined by "and".

use aws_sdk_ec2::types::Filter;

/// How many values a filter may have; the API's own limit.
pub(crate) const VALUES: usize = 200;

/// A filter by the one value of `name`.
pub(crate) fn match_value(name: &str, value: impl Into<String>) -> Filter {
    Filter::builder().name(name).values(value).build()
}

/// A filter by any of `values`.
pub(crate) fn match_any(name: &str, values: &[impl AsRef<str>]) -> Filter {
    let values = values.iter().map(|value| value.as_ref().to_owned()).collect();
    Filter::builder().name(name).set_values(Some(values)).build()
}

/// A filter by the value of the tag `key`.
pub(crate) fn match_tag(key: &str, value: &str) -> Filter {
    match_value(&format!("tag:{key}"), value)
}

/// A filter by the tag `key` alone, whatever its value.
pub(crate) fn match_tag_key(key: &str) -> Filter {
    match_value("tag-key", key)
}
