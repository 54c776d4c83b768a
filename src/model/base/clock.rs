//! The time as an argument, so that a test can say what time it is; and spans of time in JSON.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

/// Gives the current time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The time from one moment to another; zero where a clock was turned back between them.
pub fn since(from: Timestamp, until: Timestamp) -> Duration {
    Duration::try_from(until.duration_since(from)).unwrap_or_default()
}

/// For `serde(with)`: a [`std::time::Duration`] as a number of seconds with a fraction, the form of all spans in our
/// JSON.
pub mod seconds {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the span as seconds.
    pub fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        // A single division of whole numbers gives the nearest float: 1.235 s are written as 1.235.
        serializer.serialize_f64(span.as_nanos() as f64 / 1e9)
    }

    /// Reads seconds; a negative number, and one that no span can hold, are errors.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// The same for an optional span; none is null.
pub mod optional_seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize)]
    struct Span(#[serde(with = "super::seconds")] Duration);

    /// Writes the span as seconds.
    pub fn serialize<S: Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        span.map(Span).serialize(serializer)
    }

    /// Reads seconds. A number that is not a span is read as none: one odd time must not make a whole file unreadable.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<f64>::deserialize(deserializer)?.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Span(#[serde(with = "super::seconds")] Duration);

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Perhaps(#[serde(with = "super::optional_seconds")] Option<Duration>);

    #[test]
    fn a_span_is_a_number_of_seconds_and_none_is_negative() {
        let written = serde_json::to_string(&Span(Duration::from_millis(2500))).unwrap();
        assert_eq!(written, "2.5");
        assert_eq!(serde_json::to_string(&Span(Duration::from_millis(1235))).unwrap(), "1.235");
        assert_eq!(serde_json::from_str::<Span>(&written).unwrap(), Span(Duration::from_millis(2500)));
        for bad in ["-1", "1e300", "\"2\""] {
            assert!(serde_json::from_str::<Span>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_span_that_is_not_known_is_null() {
        for no_span in ["-0.5", "1e300"] {
            assert_eq!(serde_json::from_str::<Perhaps>(no_span).unwrap(), Perhaps(None));
        }
        for (span, text) in [(None, "null"), (Some(Duration::from_millis(2500)), "2.5")] {
            assert_eq!(serde_json::to_string(&Perhaps(span)).unwrap(), text);
            assert_eq!(serde_json::from_str::<Perhaps>(text).unwrap(), Perhaps(span));
        }
    }
}
