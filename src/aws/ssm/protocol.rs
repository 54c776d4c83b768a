//! The protocol between the driver and `remote/linux/ssm-command.sh`, as pure rules.
//!
//! A [`ScriptRequest`] becomes the text that the agent runs; the output of that is read back as a [`ScriptReport`]; a [`Tracker`]
//! says which pieces of a command's output to ask for next, and puts them together in order. Nothing here does I/O.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use guest::Agent;
use model::connection::ConnectionError;
use model::exit::Exit;
use model::machine::Platform;
use model::task::Chunk;

/// Most bytes of output in one answer, the same number as in the script: they make 23,336 characters of base64, and
/// `GetCommandInvocation` keeps 24,000.
pub(super) const ROOM: u64 = 17_500;

/// Bytes of a piece that is sent: 32 KiB in base64, so that it stays, together with the script, well below the 64 KB
/// limit of a document.
pub(super) const PIECE: usize = 24 << 10;

/// How many pieces are requested at once. The agent runs five commands at a time by default; one is left for others.
pub(super) const AT_ONCE: usize = 4;

/// The machine's platform, the folder on it in which commands get their folders, and the folder in which it notes the
/// commands that it has started.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) platform: Platform,
    pub(super) base: String,
    pub(super) tokens: String,
}

impl Places {
    /// The places on a platform.
    pub(super) fn of(platform: Platform) -> Result<Self, ConnectionError> {
        let folders = agent(platform)?.folders();
        Ok(Self { platform, base: folders.base.to_owned(), tokens: folders.tokens.to_owned() })
    }
}

/// How the agent of a platform is spoken to.
pub(super) fn agent(platform: Platform) -> Result<&'static dyn Agent, ConnectionError> {
    guest::of(platform).agent().ok_or_else(|| {
        let reason = format!("machines of the platform `{}` are not reached by SSM; use SSH", platform.name());
        ConnectionError::Invalid(reason)
    })
}

/// A request to the script about one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ScriptRequest {
    /// Asks whether commands can be run as this user.
    Probe { user: String },
    /// Stores a piece of the line and input for [`ScriptRequest::Start`].
    Put { index: usize, bytes: Vec<u8> },
    /// Starts the command, once even if it arrives several times; answers like [`ScriptRequest::Follow`] from the beginning.
    Start(StartRequest),
    /// Asks for the command's state and output.
    Follow(Range),
    /// Ends the command and forgets it.
    End,
    /// Does nothing of its own; it carries the ids of commands to forget.
    Forget,
}

/// The parameters for starting a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StartRequest {
    /// The user to run as.
    pub(super) user: String,
    /// How many pieces were put before.
    pub(super) pieces: usize,
    /// Bytes of the shell's line, which comes first.
    pub(super) line: usize,
    /// Bytes of the line and the standard input.
    pub(super) total: usize,
    /// The rest of those bytes after the pieces.
    pub(super) last: Vec<u8>,
    /// How long to wait for the first output or the end, in seconds.
    pub(super) hold: u64,
}

/// The output to report: the start and the most bytes for each stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) at: [u64; 2],
    pub(super) most: [u64; 2],
    /// How long to wait for something new, in seconds.
    pub(super) hold: u64,
}

impl ScriptRequest {
    /// The text for the agent. `forget` names commands whose folders are to be removed with this request.
    ///
    /// It holds the caller's data only as base64, so that neither the shell nor the service, which replaces `{{…}}`,
    /// can interpret it. The user's name is the exception; it was checked
    /// ([`is_login_name`](guest::Shell::is_login_name)).
    pub(super) fn text(&self, places: &Places, forget: &[String], id: &str) -> Result<String, ConnectionError> {
        let mut words = vec![places.base.clone(), places.tokens.clone()];
        words.push(if forget.is_empty() { "-".to_owned() } else { forget.join(",") });
        let (verb, rest) = match self {
            Self::Probe { user } => ("probe", vec![user.clone()]),
            Self::Put { index, bytes } => ("put", vec![index.to_string(), STANDARD.encode(bytes)]),
            Self::Start(start) => {
                let numbers = [start.pieces, start.line, start.total].map(|number| number.to_string());
                let mut words = vec![start.user.clone()];
                words.extend(numbers);
                words.extend([STANDARD.encode(&start.last), start.hold.to_string()]);
                ("start", words)
            }
            Self::Follow(Range { at, most, hold }) => {
                let numbers = [at[0], most[0], at[1], most[1], *hold];
                ("follow", numbers.iter().map(u64::to_string).collect())
            }
            Self::End => ("end", Vec::new()),
            Self::Forget => ("forget", Vec::new()),
        };
        words.extend([verb.to_owned(), id.to_owned()]);
        words.extend(rest);
        Ok(agent(places.platform)?.text(&words))
    }
}

/// The state of a command, as the machine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CommandState {
    Running,
    /// It ended in this way.
    Ended(Exit),
    /// Its supervisor is gone, and there is no status.
    Vanished,
    /// The machine knows nothing of it.
    Absent,
    /// The request was carried out; it was not about a running command.
    Ready,
    /// The request cannot be carried out.
    Refused(String),
}

/// An answer of the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScriptReport {
    pub(super) state: CommandState,
    /// Bytes of standard output and of standard error so far.
    pub(super) sizes: [u64; 2],
    /// The requested pieces of standard output and of standard error.
    pub(super) pieces: [Vec<u8>; 2],
}

impl ScriptReport {
    /// Reads the script's output; the error says what is wrong with an incomplete answer.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let lines: Vec<&str> = text.trim_end().lines().collect();
        let &["automation-ssm", state, out, out_piece, err, err_piece, "end"] = lines.as_slice() else {
            let start: String = text.chars().take(200).collect();
            return Err(format!("the agent's answer is not complete: `{}`", start.escape_debug()));
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("the agent reports the size `{text}`"));
        let bytes = |text: &str| STANDARD.decode(text).map_err(|_| "the agent sends broken base64".to_owned());
        Ok(Self {
            state: read_state(state)?,
            sizes: [number(out)?, number(err)?],
            pieces: [bytes(out_piece)?, bytes(err_piece)?],
        })
    }
}

fn read_state(text: &str) -> Result<CommandState, String> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    Ok(match word {
        "running" => CommandState::Running,
        "ended" => {
            CommandState::Ended(exit(rest.parse().map_err(|_| format!("the agent reports the wait status `{rest}`"))?))
        }
        "vanished" => CommandState::Vanished,
        "absent" => CommandState::Absent,
        "ready" => CommandState::Ready,
        "refused" => CommandState::Refused(rest.to_owned()),
        _ => return Err(format!("the agent reports the state `{}`", text.escape_debug())),
    })
}

/// The names of the signals from 1 on, without `SIG`; they are the same on every processor of Linux machines on EC2.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// The exit that a wait status of `wait` means; -1 says that the program could not be started at all.
fn exit(status: i32) -> Exit {
    let Ok(status) = u32::try_from(status) else {
        return Exit::Lost("the user's shell cannot be started on the machine".to_owned());
    };
    match status & 0x7f {
        0 => Exit::Code(status >> 8 & 0xff),
        number => match SIGNALS.get(number as usize - 1) {
            Some(name) => Exit::Signal((*name).to_owned()),
            None => Exit::Signal(number.to_string()),
        },
    }
}

/// How much of a command's output has been fetched.
#[derive(Debug)]
pub(super) struct Tracker {
    /// How long the machine may hold an answer back while there is nothing new, in seconds.
    hold: u64,
    seen: [u64; 2],
    known: [u64; 2],
    ended: Option<Exit>,
}

impl Tracker {
    pub(super) fn new(hold: u64) -> Self {
        Self { hold, seen: [0; 2], known: [0; 2], ended: None }
    }

    /// The range that [`ScriptRequest::Start`] answers with.
    pub(super) fn first(&self) -> Range {
        Range { at: [0; 2], most: [ROOM; 2], hold: self.hold }
    }

    /// The ranges to request next. They may be requested at once, and their answers must go to [`Tracker::accept`] in
    /// this order. Empty if everything is known.
    pub(super) fn next(&self) -> Vec<Range> {
        if self.seen == self.known {
            return match self.ended {
                Some(_) => Vec::new(),
                None => vec![Range { at: self.seen, most: [ROOM; 2], hold: self.hold }],
            };
        }
        let mut ranges = Vec::new();
        for stream in 0..2 {
            let mut at = self.seen;
            while at[stream] < self.known[stream] && ranges.len() < AT_ONCE {
                let mut most = [0; 2];
                most[stream] = ROOM.min(self.known[stream] - at[stream]);
                ranges.push(Range { at, most, hold: 0 });
                at[stream] += most[stream];
            }
        }
        ranges
    }

    /// Takes an answer to `range`; returns the output in it.
    pub(super) fn accept(&mut self, range: Range, report: ScriptReport) -> Result<Vec<Chunk>, String> {
        match report.state {
            CommandState::Running | CommandState::Ready => {}
            CommandState::Ended(exit) => self.ended = Some(exit),
            CommandState::Vanished => return Err("the supervisor of the command was killed".to_owned()),
            CommandState::Absent => {
                return Err("the machine knows nothing of the command any more; was it restarted?".to_owned());
            }
            CommandState::Refused(why) => return Err(why),
        }
        let mut room = ROOM;
        let mut chunks = Vec::new();
        for (stream, piece) in report.pieces.into_iter().enumerate() {
            let size = report.sizes[stream];
            let due = size.saturating_sub(range.at[stream]).min(range.most[stream]).min(room);
            let got = piece.len() as u64;
            if got != due || (range.most[stream] > 0 && range.at[stream] != self.seen[stream]) {
                return Err(format!("the agent's answer has {got} bytes of output where {due} were due"));
            }
            room -= due;
            self.seen[stream] += got;
            self.known[stream] = self.known[stream].max(size);
            if got > 0 {
                chunks.push(if stream == 0 { Chunk::Stdout(piece) } else { Chunk::Stderr(piece) });
            }
        }
        Ok(chunks)
    }

    /// How the command ended, once all of its output has been fetched.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.ended.clone().filter(|_| self.seen == self.known)
    }
}

/// The progress of the service with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InvocationProgress {
    /// It is still under way.
    Under,
    /// The script ran to its end.
    Ran,
    /// It has ended, and the script did not run to its end.
    Broken,
}

/// The progress that a status of `GetCommandInvocation` means. An unknown status counts as under way, because it may
/// still change.
pub(super) fn progress(status: &str) -> InvocationProgress {
    match status {
        "Success" => InvocationProgress::Ran,
        "Failed" | "Cancelled" | "TimedOut" => InvocationProgress::Broken,
        _ => InvocationProgress::Under,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(state: CommandState, sizes: [u64; 2], pieces: [&[u8]; 2]) -> ScriptReport {
        ScriptReport { state, sizes, pieces: pieces.map(<[u8]>::to_vec) }
    }

    #[test]
    fn a_request_holds_nothing_that_the_shell_or_the_service_would_replace() {
        let odd = b"{{ssm:secret}} $(id) `id` ' \" \xff\n".to_vec();
        let start = StartRequest { user: "hg".into(), pieces: 1, line: 3, total: 99, last: odd.clone(), hold: 15 };
        for request in [ScriptRequest::Start(start), ScriptRequest::Put { index: 0, bytes: odd }] {
            let text =
                request.text(&Places::of(Platform::Linux).unwrap(), &["old1".into(), "old2".into()], "abc").unwrap();
            let first = text.lines().next().unwrap();
            assert!(!first.contains(['{', '$', '`', '"', '\'']), "{first}");
            assert!(first.contains(" old1,old2 "), "{first}");
            let supervisor = text.lines().nth(1).unwrap().strip_prefix("supervisor=").unwrap();
            let perl = String::from_utf8(STANDARD.decode(supervisor).unwrap()).unwrap();
            assert!(perl.starts_with("#!/usr/bin/perl\n") && perl.ends_with(";\n"), "{perl}");
        }
        assert!(!agent(Platform::Linux).unwrap().text(&[]).contains("{{"));
        let empty = ScriptRequest::Put { index: 0, bytes: Vec::new() }
            .text(&Places::of(Platform::Linux).unwrap(), &[], "abc")
            .unwrap();
        assert!(empty.starts_with("set -- /tmp /run/hg-automation-ssm - put abc 0 ''\n"), "{empty}");
    }

    #[test]
    fn the_largest_request_and_answer_fit() {
        let largest = ScriptRequest::Put { index: 999_999, bytes: vec![0; PIECE] }
            .text(&Places::of(Platform::Linux).unwrap(), &[], "abc")
            .unwrap();
        assert!(largest.len() < 48_000, "{}", largest.len());
        let answer = 4 * ROOM.div_ceil(3) + 4 + 200;
        assert!(answer < 24_000, "{answer}");
        assert!(largest.contains(&format!("\nroom={ROOM}\n")));
    }

    #[test]
    fn an_answer_reads_back_and_a_cut_one_is_refused() {
        let whole = "automation-ssm\nended 768\n3\nb3V0\n0\n\nend\n";
        assert_eq!(ScriptReport::read(whole), Ok(report(CommandState::Ended(Exit::Code(3)), [3, 0], [b"out", b""])));
        assert!(ScriptReport::read(&whole[..whole.len() - 5]).unwrap_err().contains("not complete"));
        assert!(ScriptReport::read("").is_err());
        assert!(ScriptReport::read(&whole.replace("b3V0", "b3V")).unwrap_err().contains("base64"));
        assert!(ScriptReport::read(&whole.replace("ended 768", "asleep")).unwrap_err().contains("asleep"));
    }

    #[test]
    fn wait_statuses_are_told_apart() {
        assert_eq!(exit(0), Exit::Code(0));
        assert_eq!(exit(137 << 8), Exit::Code(137));
        assert_eq!(exit(9), Exit::Signal("KILL".into()));
        assert_eq!(exit(15 | 0x80), Exit::Signal("TERM".into()), "with a core dump");
        assert_eq!(exit(34), Exit::Signal("34".into()));
        assert!(matches!(exit(-1), Exit::Lost(_)));
    }

    #[test]
    fn long_output_is_fetched_in_pieces_and_put_together_in_order() {
        let out: Vec<u8> = (0..ROOM * 6 + 1).map(|n| (n % 251) as u8).collect();
        let err = b"error".to_vec();
        let streams = [out.clone(), err.clone()];
        let answer = |range: &Range, state: CommandState| {
            let mut room = ROOM;
            let pieces = [0, 1].map(|stream| {
                let at = range.at[stream] as usize;
                let due = (streams[stream].len() - at).min(range.most[stream] as usize).min(room as usize);
                room -= due as u64;
                streams[stream][at..at + due].to_vec()
            });
            ScriptReport { state, sizes: [out.len() as u64, err.len() as u64], pieces }
        };
        let mut tracker = Tracker::new(15);
        let first = tracker.first();
        let mut got = tracker.accept(first, answer(&first, CommandState::Running)).unwrap();
        let mut rounds = 0;
        while tracker.exit().is_none() {
            rounds += 1;
            for range in tracker.next() {
                assert!(range.most.iter().sum::<u64>() <= ROOM || range.hold > 0);
                got.extend(tracker.accept(range, answer(&range, CommandState::Ended(Exit::Code(0)))).unwrap());
            }
        }
        assert_eq!(rounds, 2, "four pieces at once");
        assert!(tracker.next().is_empty());
        let mut whole = [Vec::new(), Vec::new()];
        for chunk in got {
            match chunk {
                Chunk::Stdout(bytes) => whole[0].extend(bytes),
                Chunk::Stderr(bytes) => whole[1].extend(bytes),
            }
        }
        assert!(whole == streams);
    }

    #[test]
    fn nothing_new_is_waited_for_from_where_the_output_ends() {
        let mut tracker = Tracker::new(15);
        let first = tracker.first();
        tracker.accept(first, report(CommandState::Running, [3, 2], [b"out", b"er"])).unwrap();
        assert_eq!(tracker.next(), [Range { at: [3, 2], most: [ROOM; 2], hold: 15 }]);
        assert_eq!(tracker.exit(), None);
        tracker.accept(tracker.next()[0], report(CommandState::Ended(Exit::Code(1)), [3, 2], [b"", b""])).unwrap();
        assert_eq!(tracker.exit(), Some(Exit::Code(1)));
    }

    #[test]
    fn answers_that_lack_output_or_a_command_are_errors() {
        let short =
            |tracker: &mut Tracker, report| tracker.accept(Range { at: [0; 2], most: [ROOM; 2], hold: 0 }, report);
        let cut = report(CommandState::Running, [30, 0], [b"out", b""]);
        assert!(short(&mut Tracker::new(1), cut).unwrap_err().contains("3 bytes"));
        for state in [CommandState::Vanished, CommandState::Absent, CommandState::Refused("no".into())] {
            assert!(short(&mut Tracker::new(1), report(state, [0; 2], [b"", b""])).is_err());
        }
    }

    #[test]
    fn statuses_of_the_service_end_the_wait_or_do_not() {
        assert_eq!(progress("Success"), InvocationProgress::Ran);
        for broken in ["Failed", "Cancelled", "TimedOut"] {
            assert_eq!(progress(broken), InvocationProgress::Broken, "{broken}");
        }
        for under in ["Pending", "InProgress", "Delayed", "Cancelling", "SomethingNew"] {
            assert_eq!(progress(under), InvocationProgress::Under, "{under}");
        }
    }
}
