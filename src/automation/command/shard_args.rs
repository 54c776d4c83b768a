//! The options for tests that are split over machines.

use flow::testing::shards::{Policy, TestOrder};
use model::fault::Fault;
use model::machine::ProviderKind;

use crate::compose::{Context, providers};

/// The most machines of one run, or of one cell of its matrix.
const MOST_MACHINES: usize = 256;

/// How many machines tests are split over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shards {
    /// So many, of the provider that was asked for.
    Alike(usize),
    /// So many of each of these providers.
    Of(Vec<(ProviderKind, usize)>),
}

impl Shards {
    /// Reads `N`, or `local:2,ec2:6`.
    fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok().filter(|count| (1..=MOST_MACHINES).contains(count));
        if let Some(count) = number(text) {
            return Ok(Self::Alike(count));
        }
        let mut groups: Vec<(ProviderKind, usize)> = Vec::new();
        for part in text.split(',') {
            let (name, count) = part.split_once(':').ok_or_else(|| {
                format!("`{part}` is neither a number from 1 to {MOST_MACHINES} nor PROVIDER:N as in `local:2`")
            })?;
            let kind = providers().find(|kind| kind.name() == name).ok_or_else(|| {
                let names: Vec<String> = providers().map(|kind| format!("`{}`", kind.name())).collect();
                format!("`{name}` is not a provider: there are {}", names.join(", "))
            })?;
            let count = number(count).ok_or_else(|| format!("`{count}` is not a number from 1 to {MOST_MACHINES}"))?;
            if groups.iter().any(|(before, _)| *before == kind) {
                return Err(format!("provider `{name}` stands twice in `{text}`"));
            }
            groups.push((kind, count));
        }
        let all: usize = groups.iter().map(|(_, count)| count).sum();
        if all > MOST_MACHINES { Err(format!("more than {MOST_MACHINES} machines")) } else { Ok(Self::Of(groups)) }
    }
}

/// How tests are split and tried again.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ShardArgs {
    /// Split the tests over this many machines: each takes some from one queue, the longest first, until none is left. `local:2,ec2:6`
    /// takes machines of both [default: 1, or as many as `--host` names]
    #[arg(long, value_name = "N", value_parser = Shards::parse)]
    shards: Option<Shards>,
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
    /// From which providers the machines come, and how many of each; of the chosen one where nothing else is said. Refuses more machines of
    /// somebody else's than are named, and them beside others: it is not known whether they are alike.
    pub fn groups(&self, context: &Context) -> Result<Vec<(ProviderKind, usize)>, Fault> {
        let (chosen, hosts) = (context.default_provider()?, context.sites.hosts());
        let groups = match &self.shards {
            Some(Shards::Of(groups)) => groups.clone(),
            Some(Shards::Alike(count)) => vec![(chosen, *count)],
            None => vec![(chosen, if chosen == ProviderKind::Host { hosts.max(1) } else { 1 })],
        };
        let of_others = groups.iter().find(|(kind, _)| *kind == ProviderKind::Host);
        if of_others.is_some() && groups.len() > 1 {
            return Err(Fault::usage("machines of somebody else's are not split beside others")
                .hint("Name only such machines, each with `--host`, or none."));
        }
        match of_others {
            Some((_, count)) if *count > hosts.max(1) => {
                let named = model::base::text::pluralize(hosts, "machine");
                Err(Fault::usage(format!("`--shards` asks for {count} machines, and `--host` names {named}"))
                    .hint("Name each machine with a `--host` of its own."))
            }
            _ => Ok(groups),
        }
    }

    /// How the tests are handed out; none where they all go to one machine at once.
    pub fn policy(&self) -> Option<Policy> {
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
        Some(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_counted_for_each_provider_or_for_the_chosen_one() {
        assert_eq!(Shards::parse("8"), Ok(Shards::Alike(8)));
        assert_eq!(Shards::parse("local:2"), Ok(Shards::Of(vec![(ProviderKind::Local, 2)])));
        for wrong in [
            "",
            "0",
            "257",
            "-1",
            "x",
            "local",
            "local:0",
            "local:2,local:3",
            "moon:2",
            "local:2,",
            "host:200,local:200",
        ] {
            assert!(Shards::parse(wrong).is_err(), "{wrong}");
        }
    }

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
