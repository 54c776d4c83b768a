//! `automation try`.

use aws::lambda::is_function_name;
use flow::function;
use model::base::text;
use model::fault::Fault;
use model::function::Functions;
use project::mercurial::{SentChangeset, TRY_FUNCTION, TryPush};
use serde::Serialize;

use crate::command::error::exit;
use crate::command::signals;
use crate::compose::{self, Context};

/// How many changesets people are shown; JSON has all of them.
const SHOWN: usize = 20;

/// The options of `automation try`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The changeset; the drafts that it stands on are sent with it [default: what is checked out]
    #[arg(short, long, value_name = "REV")]
    rev: Option<String>,
    /// The function to call, by its name or ARN
    #[arg(long, value_name = "NAME|ARN", default_value = TRY_FUNCTION, value_parser = parse_function)]
    function: String,
    /// Only show what would be sent, and to which function
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn parse_function(text: &str) -> Result<String, String> {
    match is_function_name(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("`{text}` is neither the name of a function nor its ARN")),
    }
}

/// What is sent, and what came back.
#[derive(Serialize)]
struct Submission<'a> {
    node: &'a str,
    branch: &'a str,
    user: &'a str,
    message: &'a str,
    changesets: &'a [SentChangeset],
    /// How many files have uncommitted changes that are not sent.
    uncommitted: usize,
    function: &'a str,
    region: &'a str,
    /// The size of the payload.
    bytes: u64,
    sent: bool,
    replies: Vec<String>,
}

/// Sends the changeset.
pub(crate) async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    let functions = context.sites.functions().await?;
    let preparing = prepare(&context, &args, functions.as_ref());
    let (push, payload) = signals::until_signal(preparing, "Nothing was sent.").await?;
    let mut submission = Submission {
        node: &push.node,
        branch: &push.branch,
        user: &push.user,
        message: &push.message,
        changesets: &push.changesets,
        uncommitted: push.uncommitted,
        function: &args.function,
        region: functions.place(),
        bytes: payload.size,
        sent: false,
        replies: Vec::new(),
    };
    tell(&context, &args, &submission);
    function::check_size(functions.as_ref(), payload.size).map_err(|fault| too_large(fault, push.changesets.len()))?;
    if let (false, Some(bytes)) = (args.dry_run, payload.bytes) {
        let call = function::call(functions.as_ref(), &args.function, bytes);
        let left =
            "What was sent may have arrived; the function goes on by itself, and its log says what became of it.";
        submission.replies = signals::until_signal(call, left).await?;
        submission.sent = true;
    }
    if args.json {
        context.screen.json(&submission);
    } else if args.dry_run {
        context.screen.message("Nothing was sent.");
    } else if submission.replies.is_empty() {
        context.screen.message("The function ended without an error and without a message.");
    } else {
        context.screen.data(&render_replies(&submission.replies));
    }
    Ok(exit::OK)
}

/// Finds what is to be sent and makes the payload. What AWS would refuse in any case is refused before that takes its
/// time; a dry run asks AWS nothing.
async fn prepare(
    context: &Context,
    args: &Args,
    functions: &dyn Functions,
) -> Result<(TryPush, project::mercurial::Payload), Fault> {
    let push = TryPush::find(args.rev.as_deref(), &compose::current_folder()?).await?;
    if !args.dry_run {
        functions.check(&args.function).await?;
    }
    let payload = push.payload(&context.state.runs(), functions.payload_cap()).await?;
    Ok((push, payload))
}

/// Tells what is sent, and where to: the code leaves this computer. Of a dry run that is the data.
fn tell(context: &Context, args: &Args, submission: &Submission<'_>) {
    if submission.uncommitted > 0 {
        context.screen.message(&format!(
            "The uncommitted changes of {} are not sent; `hg commit` makes a changeset of them.",
            text::pluralize(submission.uncommitted, "file")
        ));
    }
    match (args.dry_run, args.json) {
        (true, true) => {}
        (true, false) => context.screen.data(&render(submission, "Would send")),
        (false, _) => context.screen.message(render(submission, "Sending").trim_end()),
    }
}

fn render(submission: &Submission<'_>, verb: &str) -> String {
    let changesets = submission.changesets;
    let mut lines = vec![format!(
        "{verb} {} ({}) to the function `{}` in `{}`:",
        text::pluralize(changesets.len(), "changeset"),
        text::bytes(submission.bytes),
        submission.function,
        submission.region
    )];
    // The last is what is to be tried.
    let hidden = changesets.len().saturating_sub(SHOWN);
    if hidden > 0 {
        lines.push(format!("  … {hidden} more below them"));
    }
    let shown = changesets.iter().skip(hidden);
    lines.extend(shown.map(|it| format!("  {} {}", it.node.get(..12).unwrap_or(&it.node), it.summary)));
    lines.push(format!("node: {}", submission.node));
    lines.push(format!("branch: {}", submission.branch));
    lines.push(format!("user: {}", submission.user));
    lines.join("\n") + "\n"
}

/// The messages of the function, each line marked as not ours.
fn render_replies(replies: &[String]) -> String {
    let lines = replies.iter().flat_map(|reply| reply.trim_end_matches('\n').split('\n'));
    lines.map(|line| format!("remote: {line}\n")).collect()
}

/// The fault of too large a payload, with what to do.
fn too_large(fault: Fault, changesets: usize) -> Fault {
    fault.hint(match changesets {
        1 => {
            "Nothing was sent. The changeset is too large for this way: keep large files out of it, or test it by \
              `automation run-tests-linux`."
        }
        _ => {
            "Nothing was sent. Every draft below the changeset is sent with it: name one with fewer below it with \
              `--rev`, or test it by `automation run-tests-linux`."
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission(changesets: &[SentChangeset]) -> Submission<'_> {
        Submission {
            node: "2222222222222222222222222222222222222222",
            branch: "default",
            user: "ann",
            message: "second",
            changesets,
            uncommitted: 0,
            function: "f",
            region: "us-west-2",
            bytes: 2048,
            sent: false,
            replies: Vec::new(),
        }
    }

    #[test]
    fn what_is_sent_is_listed_and_a_long_list_keeps_its_end() {
        let changeset = |n: usize| SentChangeset { node: format!("{n:040}"), summary: format!("work {n}") };
        let two = [changeset(1), changeset(2)];
        let expected = "Sending 2 changesets (2.0 KiB) to the function `f` in `us-west-2`:\n  000000000000 work 1\n  \
                        000000000000 work 2\nnode: 2222222222222222222222222222222222222222\nbranch: default\nuser: ann\n";
        assert_eq!(render(&submission(&two), "Sending"), expected);
        let many: Vec<SentChangeset> = (0..SHOWN + 5).map(changeset).collect();
        let shown = render(&submission(&many), "Sending");
        assert!(shown.contains("… 5 more") && shown.contains("work 24") && shown.contains("work 5\n"), "{shown}");
        assert!(!shown.contains("work 4\n"), "{shown}");
    }

    #[test]
    fn every_line_of_a_reply_is_marked() {
        let replies = ["one".to_owned(), "two\nerror: three\n".to_owned(), String::new()];
        assert_eq!(render_replies(&replies), "remote: one\nremote: two\nremote: error: three\nremote: \n");
    }

    #[test]
    fn a_function_is_named_by_name_or_arn() {
        assert!(parse_function("ci-try-server-upload").is_ok() && parse_function("a b").is_err());
    }
}
