//! One command on many machines: what one of them does to the others. Time is the test's own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use connection::dummy::{Dummy, DummyConnector, Reply};
use flow::fleet::{CommandEnd, FleetLimits, Listener, Member, TimedEnd, run};
use model::base::id::RunId;
use model::connection::{Connection, ConnectionError, Connector};
use model::exit::Exit;
use model::machine::{Machine, ProviderKind};
use model::task::{Chunk, Command};
use tokio_util::sync::CancellationToken;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(30);

/// A machine that never answers.
struct Silent;

#[async_trait]
impl Connector for Silent {
    async fn connect(
        &self,
        machine: &Machine,
        _: &str,
        limit: Duration,
        patient: bool,
    ) -> Result<Box<dyn Connection>, ConnectionError> {
        assert!(!patient, "a machine that is up is not waited for");
        tokio::time::sleep(limit).await;
        Err(ConnectionError::TimedOut { address: machine.id.to_string(), what: "silence".to_owned() })
    }
}

/// A machine that answers late.
struct Late(Duration, Dummy);

#[async_trait]
impl Connector for Late {
    async fn connect(
        &self,
        machine: &Machine,
        user: &str,
        limit: Duration,
        patient: bool,
    ) -> Result<Box<dyn Connection>, ConnectionError> {
        tokio::time::sleep(self.0).await;
        DummyConnector::new(self.1.clone()).connect(machine, user, limit, patient).await
    }
}

fn member(connector: impl Connector + 'static) -> Member {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let machine = Machine { kept: true, ..support::machine::of(ProviderKind::Dummy, RunId::new(now), now) };
    Member { machine, connector: Arc::new(connector) }
}

fn playing(reply: Reply) -> Dummy {
    let dummy = Dummy::new();
    dummy.reply_to("work", reply);
    dummy
}

fn answering(reply: Reply) -> Member {
    member(DummyConnector::new(playing(reply)))
}

/// Keeps what was told, and acts when it has heard enough.
#[derive(Default)]
struct Ear {
    told: Vec<String>,
    ticks: usize,
    stop_at: Option<(usize, CancellationToken)>,
}

impl Ear {
    fn hear(&mut self, line: String) {
        self.told.push(line);
        if let Some((at, stop)) = &self.stop_at
            && self.told.len() == *at
        {
            stop.cancel();
        }
    }
}

impl Listener for Ear {
    fn output(&mut self, member: usize, chunk: Chunk) {
        let (Chunk::Stdout(bytes) | Chunk::Stderr(bytes)) = chunk;
        self.hear(format!("{member} {}", String::from_utf8_lossy(&bytes)));
    }

    fn ended(&mut self, member: usize) {
        self.hear(format!("{member} ended"));
    }

    fn tick(&mut self) {
        self.ticks += 1;
    }
}

async fn go(members: Vec<Member>, parallel: usize, time: Option<Duration>, ear: &mut Ear) -> Vec<TimedEnd> {
    let stop = ear.stop_at.as_ref().map(|(_, stop)| stop.clone()).unwrap_or_default();
    run(members, &Command::new("work"), FleetLimits { parallel, connect: CONNECT, time }, &stop, ear).await
}

const WELL: CommandEnd = CommandEnd::Ran(Exit::Code(0));

#[tokio::test(start_paused = true)]
async fn silent_machines_give_their_places_to_others() {
    let mut ear = Ear::default();
    let began = tokio::time::Instant::now();
    let members = [0; 6].map(|_| member(Silent)).into_iter();
    let members = members.chain([0; 10].map(|_| answering(Reply::ok().stdout("x")))).collect();
    let ends = go(members, 2, None, &mut ear).await;
    assert!(
        ends[..6].iter().all(|ended| matches!(&ended.end, CommandEnd::NotReached(_)) && ended.took == CONNECT),
        "{ends:?}"
    );
    // Two places, six silent machines, two seconds each: after six seconds all others have their turn.
    assert!(ends[6..].iter().all(|ended| ended.end == WELL), "{ends:?}");
    let of_silent = |line: &&String| line.split(' ').next().unwrap().parse::<usize>().unwrap() < 6;
    assert!(!ear.told[..20].iter().any(|line| of_silent(&line)), "{:?}", ear.told);
    assert!(began.elapsed() < CONNECT + Duration::from_secs(6), "{:?}", began.elapsed());
    assert!(ear.ticks >= 30, "{}", ear.ticks);
}

#[tokio::test(start_paused = true)]
async fn a_late_machine_runs_the_command_when_there_is_a_place_again() {
    let mut ear = Ear::default();
    let late = Late(Duration::from_secs(3), playing(Reply::ok().stdout("late")));
    let slow = answering(Reply::ok().stdout("slow").hang());
    let ends = go(vec![member(late), slow], 1, Some(Duration::from_secs(10)), &mut ear).await;
    assert_eq!(ends[0].end, WELL);
    assert_eq!(ends[1].end, CommandEnd::TimedOut { limit: Duration::from_secs(10), seen: false });
    // The slow one had the only place from the second second on, and kept it until it was given up.
    assert_eq!(ear.told, ["1 slow", "1 ended", "0 late", "0 ended"]);
}

#[tokio::test(start_paused = true)]
async fn no_more_run_at_once_than_are_allowed() {
    let mut ear = Ear::default();
    let members = [0; 4].map(|_| answering(Reply::ok().hang())).into_iter().collect();
    let began = tokio::time::Instant::now();
    go(members, 2, Some(Duration::from_secs(60)), &mut ear).await;
    assert!(began.elapsed() >= Duration::from_secs(120), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_what_runs_and_begins_nothing_more() {
    let stop = CancellationToken::new();
    let mut ear = Ear { stop_at: Some((2, stop)), ..Ear::default() };
    let hangs = || answering(Reply::ok().stdout("begun").hang());
    let ends = go(vec![hangs(), hangs(), hangs(), member(Silent)], 2, None, &mut ear).await;
    let ends: Vec<CommandEnd> = ends.into_iter().map(|ended| ended.end).collect();
    assert_eq!(
        ends,
        [
            CommandEnd::Stopped { seen: false },
            CommandEnd::Stopped { seen: false },
            CommandEnd::NotBegun,
            CommandEnd::NotBegun
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_machine_is_lost_and_nothing_else() {
    let mut ear = Ear::default();
    let gone = playing(Reply::ok().stdout("x").hang());
    let breaks = gone.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        breaks.lose("pulled the plug");
    });
    let ends =
        go(vec![member(DummyConnector::new(gone)), answering(Reply::exit(Exit::Code(3)))], 2, None, &mut ear).await;
    assert_eq!(ends[0].end, CommandEnd::Ran(Exit::Lost("pulled the plug".to_owned())));
    assert_eq!(ends[1].end, CommandEnd::Ran(Exit::Code(3)));
}
