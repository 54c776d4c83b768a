//! The time as an argument, so that a test can say what time it is; and spans of time in JSON.

use std::sync::Arc;

use jiff::Timestamp;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// For `serde(with)`: a [`std::time::Duration`] as a number of seconds with a fraction, as all our JSON has spans.
pub mod seconds {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the span as seconds.
    pub fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(span.as_secs_f64())
    }

    /// Reads seconds; a negative number, and one that no span can hold, are errors.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Span(#[serde(with = "super::seconds")] Duration);

    #[test]
    fn a_span_is_a_number_of_seconds_and_none_is_negative() {
        let written = serde_json::to_string(&Span(Duration::from_millis(2500))).unwrap();
        assert_eq!(written, "2.5");
        assert_eq!(serde_json::from_str::<Span>(&written).unwrap(), Span(Duration::from_millis(2500)));
        for bad in ["-1", "1e300", "\"2\""] {
            assert!(serde_json::from_str::<Span>(bad).is_err(), "{bad}");
        }
    }
}
