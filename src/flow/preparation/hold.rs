//! Holding a machine that stays for one run: two runs at once would remove each other's files.
//!
//! A process on the machine holds it, which outlives connections and ends with the run's last task or its files, so
//! that nothing keeps a machine for ever. The driver's part is to wait its turn, with a message and a limit, and to
//! show that it is alive.

use std::time::Duration;

use model::base::id::TaskId;
use model::base::text;
use model::connection::Process;
use model::event::Step;
use model::fault::Fault;
use model::output::{OutputLimits, run_command};
use model::preparation::Preparation;
use model::task::Chunk;
use model::work::{Holder, Work};
use tokio::time::Instant;

use crate::run::Run;
use crate::task::durable::Durable;

/// The least time without a sign after which a driver counts as gone: making a connection again may take as long.
const LEAST_SILENCE: Duration = Duration::from_secs(30);

/// The most that is kept of the output of a hold that fails, in bytes.
const SAID: usize = 4096;

/// Waits until no other run holds the machine, and holds it. A machine that does not become free in time is an error
/// that names its holder.
pub async fn hold(run: &Run, durable: &Durable, preparation: &dyn Preparation) -> Result<(), Fault> {
    let site = durable.site();
    let silence = site.grace.max(LEAST_SILENCE);
    let Some(tenancy) = preparation.tenancy().filter(|_| site.provider.kind().machines_stay()) else { return Ok(()) };
    let step = tenancy.hold(durable.folder(), &run.id, &run.owner, silence);
    let id = TaskId::random();
    let mut task = durable.run_task(&id, &step.command).await?;
    let end = Instant::now() + step.limit;
    let (mut heard, mut said, mut waiting, mut holder) = (Vec::new(), Vec::new(), None, None);
    loop {
        let Ok(chunk) = tokio::time::timeout_at(end, task.next()).await else {
            // The waiting process must not get hold of the machine for a run that has given up.
            durable.cancel_task(&id).await?;
            return Err(busy_fault(holder.as_deref(), step.limit));
        };
        match chunk {
            Some(Chunk::Stdout(bytes)) => heard.extend(bytes),
            Some(Chunk::Stderr(bytes)) if said.len() < SAID => said.extend(bytes),
            Some(Chunk::Stderr(_)) => {}
            None => {
                let said = text::trim_output(&said);
                return Err(
                    Fault::outside(format!("cannot hold the machine for this run: {}", task.exit())).because(said)
                );
            }
        }
        while let Some(at) = heard.iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&heard.drain(..=at).collect::<Vec<u8>>()).trim().to_owned();
            if line != "held" && !line.starts_with("waits ") {
                continue;
            }
            waiting.take().map(Step::finish);
            let Some(other) = line.strip_prefix("waits ") else { return Ok(()) };
            let (most, other) = (step.limit, read(other));
            waiting = Some(run.teller.begin(Work::WaitingForHolder { most, holder: other.clone() }));
            holder = Some(Holder::words(other.as_ref()));
        }
    }
}

/// Reads `RUN SINCE OWNER`; none if the machine does not say.
fn read(holder: &str) -> Option<Holder> {
    let mut parts = holder.splitn(3, ' ');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(run), Some(since), Some(owner)) if since != "-" => {
            Some(Holder { run: run.to_owned(), owner: owner.to_owned(), since: since.to_owned() })
        }
        _ => None,
    }
}

fn busy_fault(holder: Option<&str>, waited: Duration) -> Fault {
    let holder = holder.unwrap_or("a run that does not say its name");
    Fault::outside("the machine is in use by another run")
        .because(format!("waited {} for {holder}", text::seconds(waited)))
        .hint("Try again when that has ended, wait longer (`--wait SPAN`), or name another machine.")
}

/// Does `work`, and shows the machine meanwhile that this driver is alive.
pub async fn with_presence<T>(durable: &Durable, preparation: &dyn Preparation, work: impl Future<Output = T>) -> T {
    let site = durable.site();
    match preparation.tenancy().filter(|_| site.provider.kind().machines_stay()) {
        None => work.await,
        Some(tenancy) => {
            let sign = tenancy.presence_command(durable.folder());
            let signs = async {
                loop {
                    tokio::time::sleep(site.grace.max(LEAST_SILENCE) / 4).await;
                    // A sign that does not get through is followed by another.
                    if let Ok(connection) = durable.direct().await {
                        drop(run_command(connection.as_ref(), &sign, OutputLimits::SMALL).await);
                    }
                }
            };
            tokio::select! {
                biased;
                done = work => done,
                never = signs => never,
            }
        }
    }
}

/// The folder with what a run left in `own`, the folder of its work. It was put aside if a later run has taken the machine
/// since.
pub async fn root(durable: &Durable, preparation: &dyn Preparation, own: &str, folder: &str) -> String {
    let tenancy = preparation.tenancy().filter(|_| durable.site().provider.kind().machines_stay());
    let Some(tenancy) = tenancy else { return own.to_owned() };
    let aside = tenancy.aside_folder(folder);
    let look = durable.guest().is_folder(&aside);
    let there = match durable.direct().await {
        Ok(connection) => {
            run_command(connection.as_ref(), &look, OutputLimits::SMALL).await.is_ok_and(|done| done.exit.is_success())
        }
        Err(_) => false,
    };
    if there { aside } else { own.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_machine_is_told_in_words() {
        let words = |line| Holder::words(read(line).as_ref());
        let holder = words("20261128-103701-abcdef 2026-11-28T10:37:02Z ann@desk");
        assert_eq!(
            holder,
            "run 20261128-103701-abcdef of ann@desk, which has held the machine since 2026-11-28T10:37:02Z"
        );
        assert_eq!(words("of - somebody else"), "a run of somebody else, who holds the machine");
        let fault = busy_fault(Some(&holder), Duration::from_secs(120));
        assert!(fault.line().contains("waited 2m 00s for run 20261128-103701-abcdef of ann@desk"), "{fault:?}");
        assert_eq!(fault.kind, model::fault::FaultKind::Outside);
    }
}
