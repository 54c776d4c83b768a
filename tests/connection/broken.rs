//! Servers that refuse, hang, lie and die.

use std::time::{Duration, Instant};

use connection::generate;
use model::connection::ConnectionError;
use model::exit::Exit;
use model::machine::{Address, HostKey, Machine};
use model::task::Command;
use support::sshd::{Sshd, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{LIMIT, connect, drain, run, sh, try_connect};

const SHORT: Duration = Duration::from_millis(400);

/// A machine at this port that is no machine.
fn machine_at(sshd: &Sshd, port: u16) -> Machine {
    Machine { address: Address::Tcp { host: "127.0.0.1".to_owned(), port }, ..sshd.machine() }
}

/// Serves every connection with `serve` until the test ends.
async fn serve<F, Fut>(serve: F) -> u16
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    port
}

async fn refusal(machine: &Machine, limit: Duration, patient: bool) -> ConnectionError {
    match try_connect(machine, limit, patient).await {
        Ok(_) => panic!("a broken server let us in"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_server_that_never_answers_times_out() {
    let sshd = Sshd::prepare("");
    let port = serve(|stream| async move {
        tokio::time::sleep(LIMIT).await;
        drop(stream);
    })
    .await;
    for patient in [false, true] {
        let started = Instant::now();
        let error = refusal(&machine_at(&sshd, port), SHORT, patient).await;
        assert!(matches!(error, ConnectionError::TimedOut { .. }), "{error}");
        assert!(error.to_string().contains("key exchange"), "{error}");
        assert!(started.elapsed() >= SHORT && started.elapsed() < SHORT * 3);
    }
}

#[tokio::test]
async fn a_handshake_that_hangs_times_out_and_its_socket_is_closed() {
    let sshd = Sshd::prepare("");
    let (ended, mut has_ended) = tokio::sync::mpsc::unbounded_channel();
    let port = serve(move |mut stream| {
        let ended = ended.clone();
        async move {
            stream.write_all(b"SSH-2.0-Hanging\r\n").await.unwrap();
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest).await);
            let _ = ended.send(());
        }
    })
    .await;
    let error = refusal(&machine_at(&sshd, port), SHORT, false).await;
    assert!(matches!(error, ConnectionError::TimedOut { .. }), "{error}");
    tokio::time::timeout(LIMIT, has_ended.recv()).await.expect("the socket stays open");
}

#[tokio::test]
async fn garbage_is_a_protocol_error_that_shows_it() {
    let sshd = Sshd::prepare("");
    for (garbage, patient) in [(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], false), (&[0xff; 4000][..], true)] {
        let port = serve(move |mut stream| async move {
            drop(stream.write_all(garbage).await);
            drop(stream.read(&mut [0; 1000]).await);
        })
        .await;
        let error = refusal(&machine_at(&sshd, port), Duration::from_secs(2), patient).await;
        assert!(matches!(error, ConnectionError::Protocol { .. }), "{error}");
        if !patient {
            assert!(error.to_string().contains("HTTP/1.1 400"), "{error}");
        }
    }
    let port = serve(move |mut stream| async move {
        drop(stream.write_all(b"SSH-2.0-x\r\n").await);
        drop(stream.write_all(&[0x55; 4000]).await);
        drop(stream.read(&mut [0; 10_000]).await);
    })
    .await;
    let error = refusal(&machine_at(&sshd, port), LIMIT, false).await;
    assert!(matches!(error, ConnectionError::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn a_machine_that_is_known_by_its_agent_alone_is_refused_at_once() {
    let sshd = Sshd::prepare("");
    let address = Address::Ssm { instance: "i-0123456789abcdef0".into(), region: "us-west-2".into() };
    let started = Instant::now();
    let error = refusal(&Machine { address, ..sshd.machine() }, LIMIT, true).await;
    assert!(matches!(&error, ConnectionError::Invalid(text) if text.contains("i-0123456789abcdef0")), "{error}");
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_server_that_hangs_up_is_lost_and_tried_again_only_with_patience() {
    let sshd = Sshd::prepare("");
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&count);
    let port = serve(move |stream| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move { drop(stream) }
    })
    .await;
    let error = refusal(&machine_at(&sshd, port), LIMIT, false).await;
    assert!(matches!(error, ConnectionError::Lost { .. }), "{error}");
    assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 1);
    let error = refusal(&machine_at(&sshd, port), SHORT, true).await;
    assert!(error.to_string().contains("kept trying"), "{error}");
    assert!(count.load(std::sync::atomic::Ordering::Relaxed) > 3);
}

#[tokio::test]
async fn a_closed_port_is_refused_at_once_without_patience() {
    let sshd = Sshd::prepare("");
    let machine = machine_at(&sshd, free_port());
    let started = Instant::now();
    let error = refusal(&machine, LIMIT, false).await;
    assert!(matches!(error, ConnectionError::Refused { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(1));
    let error = refusal(&machine, SHORT, true).await;
    let ConnectionError::Refused { source: Some(source), .. } = &error else { panic!("{error}") };
    assert!(source.to_string().contains("kept trying"), "{source}");
}

#[tokio::test]
async fn a_name_that_stands_for_no_address_is_told_as_that() {
    let sshd = Sshd::prepare("");
    let nowhere = Address::Tcp { host: "nosuch.invalid".to_owned(), port: 22 };
    let machine = Machine { address: nowhere, ..sshd.machine() };
    for patient in [false, true] {
        let error = refusal(&machine, SHORT, patient).await;
        assert!(matches!(error, ConnectionError::NoAddress { .. }), "{error}");
        let fault = model::fault::Fault::from(error);
        assert!(fault.line().starts_with("cannot find the address of `nosuch.invalid`"), "{}", fault.line());
        assert!(fault.hint.is_some_and(|hint| hint.contains("name")));
    }
}

#[tokio::test]
async fn patience_meets_a_server_that_comes_up_late() {
    let mut sshd = Sshd::prepare("");
    let machine = sshd.machine();
    let late = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        sshd.launch_silently();
        sshd
    });
    let connection = try_connect(&machine, LIMIT, true).await.unwrap();
    let _sshd = late.await.unwrap();
    assert_eq!(run(&*connection, &Command::new("true")).await.exit, Exit::Code(0));
}

#[tokio::test]
async fn another_host_key_is_a_mismatch_and_no_key_is_offered() {
    let sshd = Sshd::with("LogLevel DEBUG1");
    let other = generate("other").unwrap();
    let mut machine = sshd.machine();
    machine.host_key = HostKey::Exact { public: other.public_openssh.clone() };
    let started = Instant::now();
    let error = refusal(&machine, LIMIT, true).await;
    assert!(started.elapsed() < Duration::from_secs(5), "a mismatch was retried");
    let fingerprint = |key: &str| connection::fingerprint(key).unwrap();
    let ConnectionError::HostKeyMismatch { expected, shown, .. } = &error else { panic!("{error}") };
    assert_eq!(*expected, fingerprint(&other.public_openssh));
    assert_eq!(*shown, fingerprint(&sshd.host.public_openssh));
    let log = || std::fs::read_to_string(sshd.dir.path().join("log")).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(log().contains("kex: algorithm") && !log().contains("userauth-request"), "{}", log());
    connect(&sshd.machine()).await;
    assert!(log().contains("userauth-request"), "{}", log());
}

#[tokio::test]
async fn known_hosts_are_read_and_never_written() {
    let sshd = Sshd::start();
    let file = sshd.dir.path().join("known_hosts");
    let mut machine = sshd.machine();
    machine.host_key = HostKey::KnownHosts { file: file.clone() };
    let error = refusal(&machine, LIMIT, false).await;
    assert!(matches!(&error, ConnectionError::HostKeyUnknown { .. }), "{error}");
    assert!(error.to_string().contains("known_hosts") && !file.exists(), "{error}");
    let line = format!("[127.0.0.1]:{} {}\n", sshd.port, sshd.host.public_openssh);
    std::fs::write(&file, &line).unwrap();
    connect(&machine).await;
    let hashed = std::process::Command::new("ssh-keygen").arg("-H").arg("-f").arg(&file).output().unwrap();
    assert!(hashed.status.success());
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("|1|"));
    connect(&machine).await;
}

#[tokio::test]
async fn a_wrong_user_key_is_refused_once() {
    let sshd = Sshd::start();
    let wrong = sshd.dir.path().join("wrong");
    std::fs::write(&wrong, generate("x").unwrap().private_openssh).unwrap();
    let machine = Machine { identity: wrong.clone(), ..sshd.machine() };
    let started = Instant::now();
    let error = refusal(&machine, LIMIT, true).await;
    assert!(matches!(error, ConnectionError::AuthenticationRefused { .. }), "{error}");
    assert!(error.to_string().contains("wrong") && started.elapsed() < Duration::from_secs(5), "{error}");
}

#[tokio::test]
async fn keys_of_every_kind_open_and_locked_ones_say_so() {
    let sshd = Sshd::start();
    let keygen = |name: &str, args: &[&str]| {
        let path = sshd.dir.path().join(name);
        let made = std::process::Command::new("ssh-keygen").arg("-q").arg("-f").arg(&path).args(args).status().unwrap();
        assert!(made.success());
        let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
        let mut keys = std::fs::read_to_string(sshd.dir.path().join("authorized_keys")).unwrap();
        keys.push_str(&format!("\n{public}"));
        std::fs::write(sshd.dir.path().join("authorized_keys"), keys).unwrap();
        Machine { identity: path, ..sshd.machine() }
    };
    connect(&keygen("rsa", &["-t", "rsa", "-b", "2048", "-N", ""])).await;
    connect(&keygen("pem", &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""])).await;
    connect(&keygen("ecdsa", &["-t", "ecdsa", "-N", ""])).await;
    for (name, form) in [("locked", "RFC4716"), ("locked_pem", "PEM"), ("locked_8", "PKCS8")] {
        let locked = keygen(name, &["-t", "rsa", "-b", "2048", "-m", form, "-N", "secret"]);
        let error = refusal(&locked, LIMIT, false).await;
        assert!(matches!(&error, ConnectionError::NoKey { reason, .. } if reason.contains("passphrase")), "{error}");
    }
    let missing = Machine { identity: "/no/such/key".into(), ..sshd.machine() };
    let error = refusal(&missing, LIMIT, false).await;
    assert!(matches!(error, ConnectionError::NoKey { .. }), "{error}");
}

#[tokio::test]
async fn a_session_that_dies_mid_command_is_lost() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let mut process = connection.start(&sh("printf begun; sleep 60")).await.unwrap();
    let mut stdin = process.take_stdin().unwrap();
    assert!(process.next().await.is_some());
    // A write that waits for a window must end with the connection too.
    let writing = tokio::spawn(async move { stdin.write(&vec![0; 20_000_000]).await });
    sshd.kill_sessions();
    let out = drain(&mut *process).await;
    assert!(matches!(out.exit, Exit::Lost(_)), "{:?}", out.exit);
    let written = tokio::time::timeout(LIMIT, writing).await.expect("the write never ends").unwrap();
    assert!(matches!(written, Err(ConnectionError::Lost { .. })));
    for error in [
        connection.start(&Command::new("true")).await.map(drop).unwrap_err(),
        connection.read_file("/etc/passwd", 10).await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(error, ConnectionError::Lost { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_frozen_machine_is_given_up() {
    use connection::{SshConnector, SshSettings};
    use model::connection::Connector;
    let sshd = Sshd::start();
    let settings = SshSettings { keepalive: Duration::from_millis(100), keepalive_misses: 2 };
    assert_eq!(settings.silence(), Duration::from_millis(300));
    let machine = sshd.machine();
    let connection = SshConnector::new(settings).connect(&machine, &machine.user, LIMIT, false).await.unwrap();
    let mut process = connection.start(&sh("printf begun; sleep 60")).await.unwrap();
    assert!(process.next().await.is_some());
    let sessions = sshd.sessions();
    for pid in &sessions {
        let pid = rustix::process::Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    }
    let out = drain(&mut *process).await;
    assert_eq!(out.exit, Exit::Lost("it no longer answers".into()));
    sshd.kill_sessions();
}

#[tokio::test]
async fn one_session_that_ends_does_not_end_the_others() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let dropped = connection.start(&sh("yes")).await.unwrap();
    drop(dropped);
    let out = run(&*connection, &Command::new("echo").arg("x")).await;
    assert_eq!((out.stdout, out.exit), (b"x\n".to_vec(), Exit::Code(0)));
}

mod handover {
    use std::io::IoSlice;
    use std::mem::MaybeUninit;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixListener;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

    use super::*;

    /// Serves one connection on a socket at a path that no address holds.
    fn guard(sshd: &Sshd, answer: &'static [u8], sockets: usize) -> Machine {
        let folder = sshd.folder(&"deep/".repeat(40));
        // Bound by its short name: binding has the same limit.
        let dir = std::fs::File::open(&folder).unwrap();
        let short = format!("/proc/self/fd/{}/guard.sock", std::os::fd::AsRawFd::as_raw_fd(&dir));
        let listener = UnixListener::bind(short).unwrap();
        let port = sshd.port;
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let opened: Vec<_> =
                (0..sockets).map(|_| std::net::TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
            let fds: Vec<_> = opened.iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() {
                assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
            }
            rustix::net::sendmsg(&stream, &[IoSlice::new(answer)], &mut control, SendFlags::empty()).unwrap();
        });
        let socket = folder.join("guard.sock");
        assert!(socket.as_os_str().len() > 108);
        Machine { address: Address::Handover { socket }, ..sshd.machine() }
    }

    #[tokio::test]
    async fn a_handed_over_socket_carries_a_connection() {
        let sshd = Sshd::start();
        let connection = connect(&guard(&sshd, b"+", 1)).await;
        assert_eq!(run(&*connection, &Command::new("true")).await.exit, Exit::Code(0));
    }

    #[tokio::test]
    async fn a_refusal_is_passed_on_and_nonsense_is_refused() {
        let sshd = Sshd::start();
        let error = refusal(&guard(&sshd, b"-no sshd yet", 0), LIMIT, false).await;
        let ConnectionError::Refused { source: Some(source), .. } = &error else { panic!("{error}") };
        assert_eq!(source.to_string(), "no sshd yet");
        for (answer, sockets) in [(&b"+"[..], 0), (b"+", 2), (b"?", 1)] {
            let sshd = Sshd::start();
            let error = refusal(&guard(&sshd, answer, sockets), LIMIT, false).await;
            assert!(matches!(error, ConnectionError::Protocol { .. }), "{error}");
        }
        let nobody = Machine { address: Address::Handover { socket: "/no/such/socket".into() }, ..sshd.machine() };
        let error = refusal(&nobody, LIMIT, false).await;
        assert!(matches!(error, ConnectionError::MachineEnded { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_machine_that_has_ended_is_not_tried_again() {
        let sshd = Sshd::prepare("");
        let folder = tempfile::tempdir().unwrap();
        let (nothing, deserted) = (folder.path().join("nothing"), folder.path().join("deserted"));
        drop(UnixListener::bind(&deserted).unwrap());
        let at = |socket| Machine { address: Address::Handover { socket }, ..sshd.machine() };
        for machine in [at(nothing), at(deserted), guard(&sshd, b".", 0)] {
            let started = Instant::now();
            let error = refusal(&machine, LIMIT, true).await;
            assert!(matches!(error, ConnectionError::MachineEnded { .. }), "{error}");
            assert!(error.to_string().ends_with("lost: the machine has ended"), "{error}");
            assert!(started.elapsed() < Duration::from_secs(1));
        }
    }
}

#[tokio::test]
async fn a_dropped_connection_is_closed_on_the_machine_too() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    connection.write_file(&sshd.dir.path().join("x").display().to_string(), b"x", 0o600).await.unwrap();
    let process = connection.start(&sh("cat")).await.unwrap();
    assert!(!sshd.sessions().is_empty());
    drop((connection, process));
    let gone = async {
        while !sshd.sessions().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, gone).await.expect("the session stays");
}
