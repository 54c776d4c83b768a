//! One command on many machines at once.
//!
//! The caller chooses the machines, of one provider or several; nothing is read or written here except over
//! connections. A machine that is slow, dead or silent does not hold up the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::connection::{Connection, ConnectionError, Connector, Process};
use model::exit::Exit;
use model::fault::Fault;
use model::machine::{Machine, ProviderKind};
use model::task::{Chunk, Command};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::site::Sites;

/// A machine that was not reached within this time gives its place to the next and goes on trying aside: connecting
/// takes tens of milliseconds, a few hundred on a busy computer.
const STEP_ASIDE: Duration = Duration::from_secs(2);

/// How many machines may go on trying aside: each holds a socket or two, of the 1024 files that a process may have
/// open.
const ASIDE: usize = 200;

/// How many pieces of output, of at most 32 KiB each, may wait to be taken; beyond that the machines wait.
const PIECES: usize = 256;

/// The signals for a command that has to end, and how long it may take after each.
pub(super) const ENDINGS: [(&str, Duration); 2] = [("TERM", Duration::from_secs(2)), ("KILL", Duration::from_secs(1))];

/// How often progress is reported.
const TICK: Duration = Duration::from_secs(1);

/// A machine and the way to it.
pub struct Member {
    /// The machine.
    pub machine: Machine,
    /// The way to it.
    pub connector: Arc<dyn Connector>,
}

/// Finds the ways to the machines; machines of one provider share one.
pub async fn members(sites: &dyn Sites, machines: &[Machine]) -> Result<Vec<Member>, Fault> {
    let mut connectors: HashMap<ProviderKind, Arc<dyn Connector>> = HashMap::new();
    let mut members = Vec::new();
    for machine in machines {
        let kind = machine.provider;
        let connector = match connectors.get(&kind) {
            Some(connector) => Arc::clone(connector),
            None => {
                let connector = sites.connector(kind).await?;
                connectors.insert(kind, Arc::clone(&connector));
                connector
            }
        };
        members.push(Member { machine: machine.clone(), connector });
    }
    Ok(members)
}

/// The limits of the work.
#[derive(Debug, Clone, Copy)]
pub struct FleetLimits {
    /// Machines on which the command runs at the same time, at least one.
    pub parallel: usize,
    /// How long connecting to one may take.
    pub connect: Duration,
    /// How long the command may take on each, where that is limited.
    pub time: Option<Duration>,
}

/// How the command ended on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandEnd {
    /// The command ended with this exit, or its end is not known.
    Ran(Exit),
    /// There was no connection, or it carried no command, for this reason.
    NotReached(String),
    /// The command did not end in its time, and was ended.
    TimedOut {
        /// The time that it had.
        limit: Duration,
        /// Whether it was seen to end.
        seen: bool,
    },
    /// It was ended because somebody asked to stop.
    Stopped {
        /// Whether it was seen to end.
        seen: bool,
    },
    /// Somebody asked to stop before it had begun.
    NotBegun,
}

/// An end and how long it took to get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedEnd {
    /// How the command ended.
    pub end: CommandEnd,
    /// From the attempt to connect.
    pub took: Duration,
}

/// Hears what happens, in order for every machine; machines are named by their index.
pub trait Listener {
    /// The command on a machine wrote this.
    fn output(&mut self, member: usize, chunk: Chunk);

    /// The command is over on a machine; no more output comes.
    fn ended(&mut self, member: usize);

    /// Some time has passed.
    fn tick(&mut self);
}

enum MemberUpdate {
    Output(Chunk),
    Ended(TimedEnd),
}

/// The state that all machines share.
struct FleetState {
    command: Command,
    limits: FleetLimits,
    places: Arc<Semaphore>,
    aside: Semaphore,
    stop: CancellationToken,
}

/// Reports what happens to one machine.
struct Reporter {
    member: usize,
    tell: mpsc::Sender<(usize, MemberUpdate)>,
}

impl Reporter {
    async fn tell(&self, update: MemberUpdate) {
        // This fails only if the caller has gone, and then nobody listens.
        drop(self.tell.send((self.member, update)).await);
    }
}

/// Runs `command` on all `members` and gives how it ended on each, in their order. Ends soon after `stop` is cancelled.
///
/// The machines are served in tasks of their own: a listener that blocks holds up output, but no connection.
pub async fn run(
    members: Vec<Member>,
    command: &Command,
    limits: FleetLimits,
    stop: &CancellationToken,
    listener: &mut dyn Listener,
) -> Vec<TimedEnd> {
    let mut ends = vec![TimedEnd { end: CommandEnd::NotBegun, took: Duration::ZERO }; members.len()];
    let shared = Arc::new(FleetState {
        command: command.clone(),
        limits,
        places: Arc::new(Semaphore::new(limits.parallel.max(1))),
        aside: Semaphore::new(ASIDE),
        stop: stop.clone(),
    });
    let (tell, mut updates) = mpsc::channel(PIECES);
    // The set is dropped with this future, and ends all tasks in it.
    let mut tasks = tokio::task::JoinSet::new();
    for (index, member) in members.into_iter().enumerate() {
        let (shared, teller) = (Arc::clone(&shared), Reporter { member: index, tell: tell.clone() });
        tasks.spawn(async move { serve(&shared, &member, &teller).await });
    }
    drop(tell);
    let mut ticks = tokio::time::interval_at(Instant::now() + TICK, TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            _ = ticks.tick() => listener.tick(),
            next = updates.recv() => match next {
                Some((member, MemberUpdate::Output(chunk))) => listener.output(member, chunk),
                Some((member, MemberUpdate::Ended(ended))) => {
                    ends[member] = ended;
                    listener.ended(member);
                }
                None => break,
            },
        }
    }
    while tasks.join_next().await.is_some() {}
    ends
}

/// Does everything on one machine: waits for a place, connects, runs the command.
async fn serve(shared: &FleetState, member: &Member, teller: &Reporter) {
    let place = tokio::select! {
        biased;
        () = shared.stop.cancelled() => Err(()),
        place = Arc::clone(&shared.places).acquire_owned() => place.map_err(|_| ()),
    };
    let Ok(place) = place else {
        return teller.tell(MemberUpdate::Ended(TimedEnd { end: CommandEnd::NotBegun, took: Duration::ZERO })).await;
    };
    let began = Instant::now();
    let ended = |end| MemberUpdate::Ended(TimedEnd { end, took: began.elapsed() });
    let reached = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return teller.tell(ended(CommandEnd::NotBegun)).await,
        reached = reach(shared, member, place) => reached,
    };
    match reached {
        Ok((connection, _place)) => {
            let end = run_command(shared, connection.as_ref(), teller).await;
            teller.tell(ended(end)).await;
            connection.close().await;
        }
        Err(error) => teller.tell(ended(CommandEnd::NotReached(error.to_string()))).await,
    }
}

type Place = tokio::sync::OwnedSemaphorePermit;

/// Connects; a machine that takes long lets others use its place until it is reached.
async fn reach(
    shared: &FleetState,
    member: &Member,
    place: Place,
) -> Result<(Box<dyn Connection>, Place), ConnectionError> {
    let machine = &member.machine;
    let mut connecting = member.connector.connect(machine, &machine.user, shared.limits.connect, false);
    if let Ok(connection) = tokio::time::timeout(STEP_ASIDE, &mut connecting).await {
        return Ok((connection?, place));
    }
    let Ok(_aside) = shared.aside.try_acquire() else {
        return Ok((connecting.await?, place));
    };
    drop(place);
    let connection = connecting.await?;
    let place = Arc::clone(&shared.places).acquire_owned().await;
    let place = place.map_err(|_| ConnectionError::Invalid("no more machines are served".to_owned()))?;
    Ok((connection, place))
}

/// Runs the command and reports its output.
async fn run_command(shared: &FleetState, connection: &dyn Connection, teller: &Reporter) -> CommandEnd {
    let started = tokio::select! {
        biased;
        // Nobody knows at this point whether the command was begun.
        () = shared.stop.cancelled() => return CommandEnd::Stopped { seen: false },
        started = connection.start(&shared.command) => started,
    };
    let mut process = match started {
        Ok(process) => process,
        Err(error) => return CommandEnd::NotReached(error.to_string()),
    };
    let over = async {
        match shared.limits.time {
            Some(limit) => {
                tokio::time::sleep(limit).await;
                limit
            }
            None => std::future::pending().await,
        }
    };
    let limit = tokio::select! {
        biased;
        () = relay_output(process.as_mut(), teller) => return CommandEnd::Ran(process.exit()),
        () = shared.stop.cancelled() => None,
        limit = over => Some(limit),
    };
    let seen = end_command(process.as_mut(), teller).await;
    limit.map_or(CommandEnd::Stopped { seen }, |limit| CommandEnd::TimedOut { limit, seen })
}

/// Reports the output until the command's channel is closed.
async fn relay_output(process: &mut dyn Process, teller: &Reporter) {
    while let Some(chunk) = process.next().await {
        teller.tell(MemberUpdate::Output(chunk)).await;
    }
}

/// Ends a command and reports its last output; gives whether it was seen to end. Dropping the process afterwards closes
/// its channel.
async fn end_command(process: &mut dyn Process, teller: &Reporter) -> bool {
    for (signal, limit) in ENDINGS {
        let asked = async {
            process.signal(signal).await.ok()?;
            relay_output(process, teller).await;
            Some(())
        };
        match tokio::time::timeout(limit, asked).await {
            Ok(Some(())) => return !matches!(process.exit(), Exit::Lost(_)),
            Ok(None) => return false,
            Err(_) => {}
        }
    }
    false
}
