//! What the driver and `remote/linux/ssm-command.sh` say to each other, as pure rules.
//!
//! A [`Request`] becomes the text that the agent runs; what that prints is read back as a [`Report`]; a [`Tracker`] says which
//! pieces of a command's output to ask for next, and puts them together in order. Nothing here does I/O.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::exit::Exit;
use model::machine::Platform;
use model::task::Chunk;

/// Most bytes of output in one answer, as in the script: 23,336 characters of base64 of the 24,000 that
/// `GetCommandInvocation` keeps.
pub(super) const ROOM: u64 = 17_500;

/// Bytes of a piece that is sent: 32 KiB in base64, which with the script stays well below the 64 KB that a document may have.
pub(super) const PIECE: usize = 24 << 10;

/// Pieces that are asked for at once. The agent runs five commands at a time by default; one is left for others.
pub(super) const AT_ONCE: usize = 4;

/// The machine's system, where the folders of commands are made on it, and where it notes that one was started.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) platform: Platform,
    pub(super) base: String,
    pub(super) tokens: String,
}

impl Places {
    /// Those of a system.
    pub(super) fn of(platform: Platform) -> Self {
        let folders = guest::of(platform).agent_folders();
        Self { platform, base: folders.base.to_owned(), tokens: folders.tokens.to_owned() }
    }
}

/// What is asked of the script about one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// Whether commands can be run as this user.
    Probe { user: String },
    /// Keeps a piece of what [`Request::Start`] needs.
    Put { index: usize, bytes: Vec<u8> },
    /// Starts the command, once however often it arrives; answers like [`Request::Follow`] from the beginning.
    Start(Start),
    /// Tells of the command.
    Follow(Range),
    /// Ends the command and forgets it.
    End,
    /// Nothing of its own.
    Forget,
}

/// How a command is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    /// The user to run as.
    pub(super) user: String,
    /// How many pieces were put before.
    pub(super) pieces: usize,
    /// Bytes of the shell's line, which come first.
    pub(super) line: usize,
    /// Bytes of the line and the standard input.
    pub(super) total: usize,
    /// What is left of them after the pieces.
    pub(super) last: Vec<u8>,
    /// How long to wait for the first output or the end, seconds.
    pub(super) hold: u64,
}

/// Which output to tell of: for each stream from where, and how much at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) at: [u64; 2],
    pub(super) most: [u64; 2],
    /// How long to wait for something new, seconds.
    pub(super) hold: u64,
}

impl Request {
    /// The text for the agent. `forget` names commands whose folders are to be removed on the occasion.
    ///
    /// Nothing of what a caller gave stands in it but as base64: neither the shell nor the service, which replaces `{{…}}`,
    /// finds anything in it. The user's name is the exception; it is checked by [`is_user`].
    pub(super) fn text(&self, places: &Places, forget: &[String], id: &str) -> String {
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
        guest::of(places.platform).agent_text(&words)
    }
}

/// Whether `name` can be a user's on Linux, so that it stands in a script as it is.
pub(super) fn is_user(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !name.is_empty() && name.len() <= 32 && !name.starts_with('-') && name.bytes().all(plain)
}

/// What has become of a command, as the machine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Running,
    /// It ended, and this is how.
    Ended(Exit),
    /// What kept watch over it is gone, and there is no status.
    Vanished,
    /// The machine knows nothing of it.
    Absent,
    /// The request was done; it was not about a command that runs.
    Ready,
    /// The request cannot be done.
    Refused(String),
}

/// An answer of the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) state: State,
    /// Bytes of standard output and of standard error so far.
    pub(super) sizes: [u64; 2],
    /// The pieces of them that were asked for.
    pub(super) pieces: [Vec<u8>; 2],
}

impl Report {
    /// Reads what the script printed; gives what is wrong with it where it is no whole answer.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let lines: Vec<&str> = text.trim_end().lines().collect();
        let &["automation-ssm", state, out, out_piece, err, err_piece, "end"] = lines.as_slice() else {
            let start: String = text.chars().take(200).collect();
            return Err(format!("the agent's answer is not whole: `{}`", start.escape_debug()));
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("the agent gives the size `{text}`"));
        let bytes = |text: &str| STANDARD.decode(text).map_err(|_| "the agent gives broken base64".to_owned());
        Ok(Self {
            state: read_state(state)?,
            sizes: [number(out)?, number(err)?],
            pieces: [bytes(out_piece)?, bytes(err_piece)?],
        })
    }
}

fn read_state(text: &str) -> Result<State, String> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    Ok(match word {
        "running" => State::Running,
        "ended" => State::Ended(exit(rest.parse().map_err(|_| format!("the agent gives the wait status `{rest}`"))?)),
        "vanished" => State::Vanished,
        "absent" => State::Absent,
        "ready" => State::Ready,
        "refused" => State::Refused(rest.to_owned()),
        _ => return Err(format!("the agent gives the state `{}`", text.escape_debug())),
    })
}

/// Names of the signals from 1 on, without `SIG`; the same on every processor that Linux machines on EC2 have.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// What a wait status, as `wait` gives it, means; -1 says that the program could not be started at all.
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

/// How far a command's output was fetched.
#[derive(Debug)]
pub(super) struct Tracker {
    /// How long the machine may hold an answer back while there is nothing new, seconds.
    hold: u64,
    seen: [u64; 2],
    known: [u64; 2],
    ended: Option<Exit>,
}

impl Tracker {
    pub(super) fn new(hold: u64) -> Self {
        Self { hold, seen: [0; 2], known: [0; 2], ended: None }
    }

    /// What [`Request::Start`] answers.
    pub(super) fn first(&self) -> Range {
        Range { at: [0; 2], most: [ROOM; 2], hold: self.hold }
    }

    /// What to ask for next; several may be asked at once, and are to be given to [`Tracker::accept`] in this order. None
    /// when all is known.
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

    /// Takes an answer to `range`; gives the output in it.
    pub(super) fn accept(&mut self, range: Range, report: Report) -> Result<Vec<Chunk>, String> {
        match report.state {
            State::Running | State::Ready => {}
            State::Ended(exit) => self.ended = Some(exit),
            State::Vanished => return Err("what kept watch over the command was killed".to_owned()),
            State::Absent => {
                return Err("the machine knows nothing of the command any more; was it restarted?".to_owned());
            }
            State::Refused(why) => return Err(why),
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

    /// How the command ended, once all of its output was fetched.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.ended.clone().filter(|_| self.seen == self.known)
    }
}

/// How far the service is with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It will tell more.
    Under,
    /// The script ran to its end.
    Ran,
    /// It will never tell more, and the script did not run to its end.
    Broken,
}

/// What a status of `GetCommandInvocation` means. A status that is not known yet may still change.
pub(super) fn progress(status: &str) -> Progress {
    match status {
        "Success" => Progress::Ran,
        "Failed" | "Cancelled" | "TimedOut" => Progress::Broken,
        _ => Progress::Under,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(state: State, sizes: [u64; 2], pieces: [&[u8]; 2]) -> Report {
        Report { state, sizes, pieces: pieces.map(<[u8]>::to_vec) }
    }

    #[test]
    fn a_request_holds_nothing_that_the_shell_or_the_service_would_replace() {
        let odd = b"{{ssm:secret}} $(id) `id` ' \" \xff\n".to_vec();
        let start = Start { user: "hg".into(), pieces: 1, line: 3, total: 99, last: odd.clone(), hold: 15 };
        for request in [Request::Start(start), Request::Put { index: 0, bytes: odd }] {
            let text = request.text(&Places::of(Platform::Linux), &["old1".into(), "old2".into()], "abc");
            let first = text.lines().next().unwrap();
            assert!(!first.contains(['{', '$', '`', '"', '\'']), "{first}");
            assert!(first.contains(" old1,old2 "), "{first}");
        }
        assert!(!guest::of(Platform::Linux).agent_text(&[]).contains("{{"));
        let empty = Request::Put { index: 0, bytes: Vec::new() }.text(&Places::of(Platform::Linux), &[], "abc");
        assert!(empty.starts_with("set -- /tmp /run/hg-automation-ssm - put abc 0 ''\n"), "{empty}");
        for bad in ["", "-x", "a b", "a;b", "a$b", "{{x}}"] {
            assert!(!is_user(bad), "{bad}");
        }
        assert!(is_user("hg") && is_user("ec2-user"));
    }

    #[test]
    fn the_largest_request_and_answer_fit() {
        let largest =
            Request::Put { index: 999_999, bytes: vec![0; PIECE] }.text(&Places::of(Platform::Linux), &[], "abc");
        assert!(largest.len() < 48_000, "{}", largest.len());
        let answer = 4 * ROOM.div_ceil(3) + 4 + 200;
        assert!(answer < 24_000, "{answer}");
        assert!(largest.contains(&format!("\nroom={ROOM}\n")));
    }

    #[test]
    fn an_answer_reads_back_and_a_cut_one_is_refused() {
        let whole = "automation-ssm\nended 768\n3\nb3V0\n0\n\nend\n";
        assert_eq!(Report::read(whole), Ok(report(State::Ended(Exit::Code(3)), [3, 0], [b"out", b""])));
        assert!(Report::read(&whole[..whole.len() - 5]).unwrap_err().contains("not whole"));
        assert!(Report::read("").is_err());
        assert!(Report::read(&whole.replace("b3V0", "b3V")).unwrap_err().contains("base64"));
        assert!(Report::read(&whole.replace("ended 768", "asleep")).unwrap_err().contains("asleep"));
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
        let answer = |range: &Range, state: State| {
            let mut room = ROOM;
            let pieces = [0, 1].map(|stream| {
                let at = range.at[stream] as usize;
                let due = (streams[stream].len() - at).min(range.most[stream] as usize).min(room as usize);
                room -= due as u64;
                streams[stream][at..at + due].to_vec()
            });
            Report { state, sizes: [out.len() as u64, err.len() as u64], pieces }
        };
        let mut tracker = Tracker::new(15);
        let first = tracker.first();
        let mut got = tracker.accept(first, answer(&first, State::Running)).unwrap();
        let mut rounds = 0;
        while tracker.exit().is_none() {
            rounds += 1;
            for range in tracker.next() {
                assert!(range.most.iter().sum::<u64>() <= ROOM || range.hold > 0);
                got.extend(tracker.accept(range, answer(&range, State::Ended(Exit::Code(0)))).unwrap());
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
        tracker.accept(first, report(State::Running, [3, 2], [b"out", b"er"])).unwrap();
        assert_eq!(tracker.next(), [Range { at: [3, 2], most: [ROOM; 2], hold: 15 }]);
        assert_eq!(tracker.exit(), None);
        tracker.accept(tracker.next()[0], report(State::Ended(Exit::Code(1)), [3, 2], [b"", b""])).unwrap();
        assert_eq!(tracker.exit(), Some(Exit::Code(1)));
    }

    #[test]
    fn answers_that_lack_output_or_a_command_are_errors() {
        let short =
            |tracker: &mut Tracker, report| tracker.accept(Range { at: [0; 2], most: [ROOM; 2], hold: 0 }, report);
        let cut = report(State::Running, [30, 0], [b"out", b""]);
        assert!(short(&mut Tracker::new(1), cut).unwrap_err().contains("3 bytes"));
        for state in [State::Vanished, State::Absent, State::Refused("no".into())] {
            assert!(short(&mut Tracker::new(1), report(state, [0; 2], [b"", b""])).is_err());
        }
    }

    #[test]
    fn statuses_of_the_service_end_the_wait_or_do_not() {
        assert_eq!(progress("Success"), Progress::Ran);
        for broken in ["Failed", "Cancelled", "TimedOut"] {
            assert_eq!(progress(broken), Progress::Broken, "{broken}");
        }
        for under in ["Pending", "InProgress", "Delayed", "Cancelling", "SomethingNew"] {
            assert_eq!(progress(under), Progress::Under, "{under}");
        }
    }
}
