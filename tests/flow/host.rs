//! A machine of somebody else's: what is ours on it are files, and they go.

use std::sync::Arc;

use connection::dummy::{Call, Reply};
use connection::host::HostProvider;
use flow::contract::check;
use flow::lease::LeaseEnd;
use flow::preparation::folder;
use model::connection::ConnectionError;
use model::exit::Exit;
use model::fault::FaultKind;
use model::machine::{Machine, Platform, ProviderKind};
use model::provider::MachineRequest;
use model::resource::{ResourceKind, ResourceState};
use model::task::StepCommand;
use project::mercurial::CLAUSES;

use super::testing::tests_of;
use super::{Theatre, with_machine};

fn theatre() -> Theatre {
    let mut theatre = Theatre::new();
    let machine = Machine {
        id: theatre.request().id,
        image: "somebody else's machine".into(),
        ..support::machine::of(ProviderKind::Host, theatre.run.id.clone(), theatre.run.now())
    };
    theatre.site.provider = Arc::new(HostProvider::new(vec![machine]));
    theatre.remote.answer(|command| {
        let says = command.args.last().filter(|last| last.starts_with("hg-automation: "))?;
        Some(Reply::ok().stdout(format!("Welcome!\n{says}\n")))
    });
    theatre
}

/// How the work on a machine goes.
#[derive(PartialEq)]
enum Work {
    Ends,
    Stops,
    LosesItsConnection,
}

fn clean(theatre: &Theatre) -> StepCommand {
    flow::preparation::cleaning(&tests_of(&[]), Platform::Linux, &folder(&theatre.run, Platform::Linux))
}

fn line(theatre: &Theatre) -> String {
    support::commands::line(&clean(theatre).command)
}

async fn run(theatre: &Theatre, how: Work) -> LeaseEnd<()> {
    let clean = clean(theatre);
    with_machine(&theatre.run, &theatre.site, &theatre.request(), Some(&clean), async |_, _| {
        if how == Work::LosesItsConnection {
            let lost = ConnectionError::Lost { address: "example.org".into(), reason: "reset by peer".into() };
            theatre.remote.fail(Call::Start, lost);
        }
        if how == Work::Stops {
            theatre.run.stop.cancel();
            std::future::pending::<()>().await;
        }
        Ok(())
    })
    .await
}

fn cleanings(theatre: &Theatre) -> usize {
    let line = format!("start {}", line(theatre));
    theatre.remote.calls().iter().filter(|call| **call == line).count()
}

#[tokio::test(start_paused = true)]
async fn our_files_are_removed_and_their_row_is_closed() {
    let theatre = theatre();
    theatre.remote.reply_to(line(&theatre), Reply::ok());
    let ended = run(&theatre, Work::Ends).await;
    assert!(ended.result.is_ok() && ended.left.is_empty());
    assert_eq!(cleanings(&theatre), 1);
    assert_eq!(theatre.rows().len(), 1);
    theatre.assert_clean().await;
}

#[tokio::test(start_paused = true)]
async fn our_files_are_removed_after_an_interruption_too() {
    let theatre = theatre();
    theatre.remote.reply_to(line(&theatre), Reply::ok());
    let ended = run(&theatre, Work::Stops).await;
    assert_eq!(ended.result.unwrap_err().kind, FaultKind::Interrupted);
    assert_eq!((cleanings(&theatre), ended.left.len()), (1, 0));
    theatre.assert_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_made_again_to_clean() {
    let theatre = theatre();
    theatre.remote.reply_to(line(&theatre), Reply::ok());
    let ended = run(&theatre, Work::LosesItsConnection).await;
    assert_eq!((cleanings(&theatre), ended.left.len()), (1 + 1, 0));
    theatre.assert_clean().await;
}

#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_removed_stay_in_the_journal_with_the_reason() {
    let theatre = theatre();
    theatre.remote.reply_to(line(&theatre), Reply::exit(Exit::Code(1)).stderr("cleanup: cannot unmount /hgwork\n"));
    let ended = run(&theatre, Work::Ends).await;
    assert!(ended.result.is_ok(), "the work's own result stands");
    assert_eq!(theatre.open(), [ResourceKind::RemoteFiles]);
    let note = theatre.rows()[0].note.clone().unwrap();
    assert_eq!(note, "exit status 1: cleanup: cannot unmount /hgwork", "the advice is no part of what is stored");
    let shown = theatre.rows()[0].explanation().unwrap();
    assert!(shown.starts_with(&format!("{note}; log in and remove `hg@")), "{shown}");
    assert!(shown.ends_with("`, or run on the machine again") && shown.matches("/hgwork").count() == 1, "{shown}");
    // Another try to release does not heap words on words.
    let row = theatre.rows().remove(0);
    let fate = theatre.site.provider.release(&row).await.unwrap();
    assert_eq!(fate, model::resource::Fate::Remains(note));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_never_reached_has_nothing_of_ours() {
    let theatre = theatre();
    let refused = ConnectionError::AuthenticationRefused {
        address: "example.org".into(),
        user: "hg".into(),
        identity: "/home/ann/.ssh/id_ed25519".into(),
    };
    theatre.remote.fail(Call::Connect, refused);
    let ended = run(&theatre, Work::Ends).await;
    assert_eq!(ended.result.unwrap_err().kind, FaultKind::Outside, "and not `left behind`");
    assert_eq!((ended.left.len(), cleanings(&theatre)), (0, 0));
    theatre.assert_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_runs_no_commands_is_told_by_what_it_says_and_has_nothing_of_ours() {
    let mut theatre = theatre();
    let bare = Theatre::new();
    bare.remote.answer(|command| {
        let asked = command.args.last()?.starts_with("hg-automation: ");
        asked.then(|| Reply::exit(Exit::Code(1)).stdout("This account is currently not available.\n"))
    });
    theatre.site.connector = Arc::clone(&bare.site.connector);
    let ended = run(&theatre, Work::Ends).await;
    let fault = ended.result.unwrap_err();
    assert_eq!((fault.kind, ended.left.len()), (FaultKind::Outside, 0));
    let told = fault.line();
    assert!(told.contains("login shell") && told.contains("`This account is currently not available.`"), "{told}");
    theatre.assert_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_leaves_no_row_open() {
    let theatre = theatre();
    let request = MachineRequest { volume: Some(1), ..theatre.request() };
    let ended: LeaseEnd<()> = with_machine(&theatre.run, &theatre.site, &request, None, async |_, _| Ok(())).await;
    assert_eq!(ended.result.unwrap_err().kind, FaultKind::Usage);
    assert_eq!(theatre.rows()[0].state, ResourceState::Gone);
    theatre.assert_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_check_leaves_no_folder_that_the_end_of_the_run_does_not_know() {
    let theatre = theatre();
    let folder = folder(&theatre.run, Platform::Linux);
    let own = folder.clone();
    theatre.remote.answer(move |command| {
        let makes = command.args.get(1)?.contains("mkdir -m 0700") && command.args.last() == Some(&own);
        makes.then(|| Reply::ok().folder(own.as_str()))
    });
    theatre.remote.reply_to(format!("rm -rf -- {folder}"), Reply::ok());
    let lost = ConnectionError::File { doing: "write".into(), reason: "quota exceeded".into() };
    theatre.remote.fail(Call::WriteFile, lost);
    let fault = check(&theatre.run, &theatre.remote, &[CLAUSES]).await.unwrap_err();
    assert_eq!(fault.message, "cannot write: quota exceeded");
    assert!(theatre.remote.calls().contains(&format!("start rm -rf -- {folder}")));
}
