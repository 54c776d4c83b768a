//! The course of every command that runs tests, to its end or until its tests are left.

use std::sync::Arc;

use flow::task::begun::OnceBegun;
use flow::testing::{Records, TestJob, TestTerms, run_job};
use flow::transfer::artifacts::Fetch;
use model::event::TestsEvent;
use model::fault::Fault;
use model::machine::Machine;
use model::mute::Mute;
use model::runner::Runner;

use crate::command::announcer::{Announcer, accept_detach};
use crate::command::dry_run::{self, Wanted};
use crate::command::image::baking_for;
use crate::command::session::{Ending, Session};
use crate::command::split_tests::drive_cells;
use crate::command::test_args::{ResolvedCell, ResolvedGroup, ResolvedTests, TestArgs};
use crate::command::testing::conclude;
use crate::compose::Context;

/// Runs the tests as a run of its own, to its end.
pub async fn run_tests(context: Context, args: &TestArgs, tests: ResolvedTests<'_>) -> Result<i32, Fault> {
    if args.dry_run {
        return show_machines(&context, args, &tests.cells).await;
    }
    let fetch = args.artifacts.check(false)?;
    let mutes = args.mute.as_deref().map(project::mutes::read).transpose()?.unwrap_or_default();
    args.reports.check()?;
    let command = tests.command;
    let done = begin(context, args, tests, (fetch, mutes)).await;
    args.reports.told(command, done)
}

/// Says which machines would be made.
async fn show_machines(context: &Context, args: &TestArgs, cells: &[ResolvedCell]) -> Result<i32, Fault> {
    let mut wanted = Vec::new();
    for cell in cells {
        for ResolvedGroup { kind, machines, plan, order } in &cell.groups {
            let (kind, machines, plan) = (*kind, *machines, plan.as_ref());
            wanted.push(Wanted { cell: cell.point.name(), kind, machines, plan, order });
        }
    }
    let source = cells.first().and_then(|cell| cell.runner.brings());
    dry_run::show(context, &wanted, source, args.asks_for_json()).await
}

/// The same, where it can be reported.
async fn begin(
    context: Context,
    args: &TestArgs,
    tests: ResolvedTests<'_>,
    (fetch, mutes): (Fetch, Vec<Mute>),
) -> Result<i32, Fault> {
    let first = tests.cells.iter().flat_map(|cell| &cell.groups).map(|group| group.kind).next();
    let kind = first.map_or_else(|| context.default_provider(), Ok)?;
    let parting = context.parting(args.parting.wait_gone);
    let session = Session::begin_on(context, tests.command, kind).await?.parting(Arc::new(parting));
    let (mutes, expired): (Vec<Mute>, Vec<Mute>) =
        mutes.into_iter().partition(|mute| mute.is_in_force(session.started_at()));
    let expired =
        expired.into_iter().map(|Mute { test, expires, reason }| TestsEvent::MuteExpired { test, expires, reason });
    for remark in tests.remarks.into_iter().chain(expired) {
        session.run.tell(remark);
    }
    let terms = TestTerms {
        clauses: tests.clauses,
        fetch: &fetch,
        allow_all_skipped: args.allow_all_skipped,
        keep_failed: args.keep_failed,
        mutes: &mutes,
    };
    session.works_at(tests.cells.first().and_then(|cell| cell.runner.place()));
    let result = match (args.shards.policy(), tests.cells.as_slice()) {
        (None, [ResolvedCell { runner, groups, point }])
            if point.name().is_none() && groups.iter().map(|group| group.machines).sum::<usize>() == 1 =>
        {
            drive(&session, args, runner.as_ref(), groups, terms).await
        }
        (policy, cells) => drive_cells(&session, args, cells, terms, &policy.unwrap_or_default()).await,
    };
    let result = args.reports.told(session.command(), result);
    session.end(result).await
}

/// Runs the tests on one machine, in this process to their end, or until they are left there.
async fn drive(
    session: &Session,
    args: &TestArgs,
    runner: &dyn Runner,
    groups: &[ResolvedGroup],
    terms: TestTerms<'_>,
) -> Result<Ending, Fault> {
    let group = groups.first().ok_or_else(|| Fault::infrastructure("tests without a machine"))?;
    let announcer = Announcer::new(session, args.asks_for_json());
    let announce = |machine: &Machine| announcer.announce(machine);
    let once_begun =
        if args.detach { OnceBegun::Leave(&announce) } else { OnceBegun::Follow(&|| session.detachable()) };
    let (output, builds) = (session.test_output(), session.context.state.builds());
    let stop = session.run.stop.clone();
    let records = Records { folder: &session.dir, output: &output, stop, watch: &|_| () };
    let (plan, baking) = (group.plan.as_ref(), &baking_for(&group.order, args.keep_failed));
    let job = TestJob { runner, plan, baking, order: &group.order, terms, limit: args.timeout, once_begun };
    let (ended, task) = run_job(&session.run, &session.site, &job, &records, &builds).await?;
    announcer.settle();
    let ending = conclude(session, &args.reports, task, ended).await?;
    Ok(accept_detach(args.detach, ending))
}
