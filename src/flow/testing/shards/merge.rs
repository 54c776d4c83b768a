//! The results of a run from what its machines reported.

use model::outcome::{OtherAttempt, TestOutcome, TestResult};

use crate::testing::shards::queue::Queue;

/// A result for every expected test, and for those that ran without being expected; by name. `why` is the reason for those that were
/// never begun, or whose last try brought nothing.
pub(super) fn results(queue: &Queue, why: &str) -> Vec<TestResult> {
    let policy = &queue.selection().policy;
    let mut results: Vec<TestResult> = queue.strangers.values().cloned().collect();
    for (name, item) in &queue.items {
        let Some(counts) = policy.deciding(&item.tries) else {
            if let Some(last) = item.losses.last().filter(|_| queue.stopped().is_none()) {
                let others = item.losses[..item.losses.len() - 1].iter().filter_map(other);
                results.push(TestResult { others: others.collect(), ..last.clone() });
                continue;
            }
            // Where enough had failed, nobody wanted this test any more.
            let (outcome, why) = match (queue.stopped(), queue.closed()) {
                (Some(stopped), _) => {
                    let how = if item.losses.is_empty() { "not begun" } else { "ended before it came to a result" };
                    (TestOutcome::Skipped, format!("{how}: {stopped}"))
                }
                (None, Some(closed)) => (closed.outcome, closed.why.clone()),
                (None, None) => (TestOutcome::Lost, item.why.as_deref().unwrap_or(why).to_owned()),
            };
            results.push(TestResult::of(name.clone(), outcome, None, Some(why)));
            continue;
        };
        let tries = item.tries.iter().chain(&item.losses).filter(|tried| tried.attempt != counts.attempt);
        let mut others: Vec<OtherAttempt> = tries.filter_map(other).collect();
        others.sort_by_key(|other| other.attempt.number);
        results.push(TestResult { others, ..counts.clone() });
    }
    results.sort_by(|a, b| a.name.cmp(&b.name));
    results
}

fn other(tried: &TestResult) -> Option<OtherAttempt> {
    Some(OtherAttempt {
        attempt: tried.attempt.clone()?,
        outcome: tried.outcome,
        took: tried.took,
        reason: tried.reason.clone(),
        began_at: tried.began_at,
    })
}
