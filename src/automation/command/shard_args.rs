//! The options for tests that are split over machines.

use flow::testing::shards::{Policy, TestOrder};
use model::fault::Fault;
use model::machine::ProviderKind;

use crate::command::unfit::refuse_options;

/// The most machines of one run.
const MOST_MACHINES: u32 = 256;

/// How tests are split and tried again.
#[derive(Debug, Clone, clap::Args)]
pub struct ShardArgs {
    /// Split the tests over this many machines: each takes some from one queue, the longest first, until none is left
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_MACHINES)))]
    shards: Option<u32>,
    /// Try each failed test again up to N times, alone and if possible on another machine; one that passes then is flaky, and reported
    /// as that
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    retry_failed: Option<u32>,
    /// Begin no further test once one has failed
    #[arg(long, conflicts_with = "max_failures")]
    fail_fast: bool,
    /// Begin no further test once N have failed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_failures: Option<u32>,
    /// Run each test N times; one that passes and fails is flaky, and failed
    #[arg(long, value_name = "N", conflicts_with = "retry_failed", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs_per_test: Option<u32>,
    /// The order in which tests are handed out: `longest-first`, `random`, or `random:SEED` for the same order again
    /// [default: longest-first]
    #[arg(long, value_name = "ORDER", value_parser = parse_order)]
    order: Option<TestOrder>,
}

fn parse_order(text: &str) -> Result<TestOrder, String> {
    match text.split_once(':') {
        None if text == "longest-first" => Ok(TestOrder::LongestFirst),
        None if text == "random" => Ok(TestOrder::Random { seed: rand_seed() }),
        Some(("random", seed)) => {
            let seed = seed.parse().map_err(|_| format!("`{seed}` is not a whole number from 0 to {}", u64::MAX))?;
            Ok(TestOrder::Random { seed })
        }
        _ => Err(format!("`{text}` is not `longest-first`, `random` or `random:SEED`")),
    }
}

/// A seed that nobody chose; four digits, so that it can be typed again.
fn rand_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0u8) % 10_000
}

impl ShardArgs {
    /// Refuses options that have no meaning with the provider.
    pub fn refuse_unfit(&self, kind: ProviderKind) -> Result<(), Fault> {
        let several = self.shards.is_some_and(|shards| shards > 1);
        if kind == ProviderKind::Host { refuse_options(&[("--shards", several)], kind) } else { Ok(()) }
    }

    /// On how many machines the tests run and how they are handed out; none where they all go to one machine at once.
    pub fn policy(&self) -> Option<(usize, Policy)> {
        let Self { shards, retry_failed, fail_fast, max_failures, runs_per_test, order } = self;
        let max_failures = max_failures.or(fail_fast.then_some(1));
        let split = shards.is_some() || retry_failed.is_some() || max_failures.is_some();
        if !split && runs_per_test.is_none() && order.is_none() {
            return None;
        }
        let policy = Policy {
            retries: retry_failed.unwrap_or_default(),
            runs_per_test: runs_per_test.unwrap_or(1),
            max_failures,
            order: order.unwrap_or_default(),
        };
        Some((shards.unwrap_or(1) as usize, policy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_named_with_its_seed_and_nothing_else_passes_for_one() {
        assert_eq!(parse_order("random:7"), Ok(TestOrder::Random { seed: 7 }));
        assert_eq!(parse_order("longest-first"), Ok(TestOrder::LongestFirst));
        assert!(matches!(parse_order("random"), Ok(TestOrder::Random { seed: 0..10_000 })));
        for wrong in ["", "random:", "random:-1", "random:x", "shortest-first", "longest-first:1"] {
            assert!(parse_order(wrong).is_err(), "{wrong}");
        }
    }
}
