//! One contract, run over every implementation.

use connection::{Dummy, DummyConnector, Reply};
use model::connection::{Connection, Connector};
use model::exit::Exit;
use model::task::Command;
use support::commands::line;
use support::contract::{
    cases, copies_files, hands_out_stdin_once, listing, output, reports_commands, writes_and_reads_small_files,
};
use support::sshd::Sshd;

use super::{LIMIT, connect, run, sh};

async fn keeps_the_contract(connection: &dyn Connection, remote: &str) {
    reports_commands(connection).await;
    hands_out_stdin_once(connection).await;
    writes_and_reads_small_files(connection, remote).await;
    copies_files(connection, remote, 5_000_000).await;
}

#[tokio::test]
async fn ssh_keeps_the_contract() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let remote = format!("{}/", sshd.folder("remote").display());
    keeps_the_contract(&*connection, &remote).await;
    let left: Vec<_> =
        listing(&sshd.folder("remote")).into_iter().filter(|(path, ..)| path.contains("partial")).collect();
    assert!(left.is_empty(), "{left:?}");
    connection.close().await;
    assert!(connection.start(&Command::new("true")).await.is_err());
}

#[tokio::test]
async fn the_dummy_keeps_the_contract() {
    let dummy = Dummy::new();
    for (command, expected) in cases() {
        let reply = Reply::exit(expected.exit).stdout(expected.stdout).stderr(expected.stderr);
        dummy.reply_to(line(&command), reply);
    }
    let sshd = Sshd::prepare("");
    let connection = DummyConnector::new(dummy.clone()).connect(&sshd.machine(), "hg", LIMIT, false).await.unwrap();
    keeps_the_contract(&*connection, "/tmp/").await;
    assert!(dummy.inputs().contains(&("cat".to_owned(), b"one two".to_vec())));
    assert!(connection.start(&Command::new("unheard-of")).await.is_err());
}

#[tokio::test]
async fn many_commands_run_side_by_side() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let one = |n: usize| {
        let connection = &connection;
        async move {
            let out = run(&**connection, &sh(&format!("echo {n}; sleep 0.1; echo {n} >&2; exit {n}"))).await;
            assert_eq!(out, output(format!("{n}\n"), &format!("{n}\n"), Exit::Code(n as u32)));
        }
    };
    // More than one transport carries by OpenSSH's default.
    futures_util::future::join_all((0..25).map(one)).await;
}

#[tokio::test]
async fn a_server_that_allows_one_session_a_connection_gets_more_connections() {
    let sshd = Sshd::with("MaxSessions 1");
    let connection = connect(&sshd.machine()).await;
    let one = || async { run(&*connection, &sh("sleep 0.1; echo x")).await.exit };
    let exits = futures_util::future::join_all((0..3).map(|_| one())).await;
    assert!(exits.iter().all(Exit::is_success), "{exits:?}");
}

#[tokio::test]
async fn a_slow_reader_gets_every_byte() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let mut process = connection.start(&sh("head -c 20000000 /dev/zero | tr '\\0' x; printf end >&2")).await.unwrap();
    let (mut total, mut chunks) = (0, 0);
    while let Some(chunk) = process.next().await {
        chunks += 1;
        if chunks % 50 == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        if let model::task::Chunk::Stdout(bytes) = chunk {
            assert!(bytes.iter().all(|byte| *byte == b'x'));
            total += bytes.len();
        }
    }
    assert_eq!((total, process.exit()), (20_000_000, Exit::Code(0)));
}

#[tokio::test]
async fn input_and_output_flow_at_once() {
    let sshd = Sshd::start();
    let connection = connect(&sshd.machine()).await;
    let bytes: Vec<u8> = (0..12_000_000_u32).map(|n| (n >> 8) as u8).collect();
    let out = run(&*connection, &Command::new("cat").stdin(bytes.clone())).await;
    assert!(out.stdout == bytes && out.exit == Exit::Code(0));
    // A command that ends without reading its input does not hold anybody up.
    let out = run(&*connection, &Command::new("true").stdin(bytes)).await;
    assert_eq!(out.exit, Exit::Code(0));
}
