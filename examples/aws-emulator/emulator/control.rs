//! The orders of tests (delays, refusals, cut replies), and the log of calls with those that were not allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use super::call::Call;
use super::http::Response;
use super::lines::Lines;

/// A call that came in.
#[derive(Debug, Clone)]
pub struct LoggedCall {
    /// `service:Action`.
    pub name: String,
    /// The call.
    pub call: Call,
    /// The status of the answer; 0 while the call is under way and if the reply was cut.
    pub status: u16,
    /// The reply; empty while the call is under way and if the reply was cut.
    pub reply: String,
    /// When it came.
    pub came: Instant,
    /// When it was answered; `None` while the call is under way and if the reply was cut.
    pub answered: Option<Instant>,
}

/// The total time before `end` that lies in at least one of `spans`.
pub fn covered(mut spans: Vec<(Instant, Instant)>, end: Instant) -> Duration {
    spans.sort();
    let (mut sum, mut reached) = (Duration::ZERO, None);
    for (from, to) in spans {
        let from = reached.map_or(from, |reached| from.max(reached));
        sum += to.min(end).saturating_duration_since(from);
        reached = Some(from.max(to));
    }
    sum
}

/// The effect of an order on a call, before or instead of its answer.
#[derive(Debug, Clone)]
enum Effect {
    Delay(Duration),
    Refuse { status: u16, code: String, message: String },
    Throttle,
    Deny,
    Cut,
}

/// An order for the next `left` calls of a name, or for all of them.
#[derive(Debug, Clone)]
struct CallOrder {
    name: String,
    /// A parameter of the query protocol and the value that it must have.
    only: Option<(String, String)>,
    effect: Effect,
    left: Option<usize>,
}

impl CallOrder {
    fn fits(&self, call: &Call) -> bool {
        (self.name == "*" || self.name == call.name())
            && self.left != Some(0)
            && self.only.as_ref().is_none_or(|(name, value)| call.param(name) == value)
    }
}

/// The conditions on the emulated side.
#[derive(Debug, Clone)]
pub struct Conditions {
    /// How long an instance is pending.
    pub pending: Duration,
    /// How many times a new instance's id is unknown when it is asked for.
    pub unknown: usize,
    /// How long a command that was sent by Systems Manager is unknown.
    pub invocation_unknown: Duration,
    /// Whether the agents of Systems Manager on instances register.
    pub agents: bool,
    /// How long an image is pending.
    pub image_pending: Duration,
    /// How long an instance is shutting down.
    pub terminating: Duration,
    /// Whether the credentials have expired.
    pub expired: bool,
    /// Whether prices are available.
    pub prices: bool,
    /// The address that callers are told as their own; `None` for their real one.
    pub caller: Option<IpAddr>,
    /// The functions of Lambda, by name, each with the command line of the program that stands in for it.
    pub functions: BTreeMap<String, Vec<OsString>>,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            pending: Duration::from_millis(300),
            unknown: 0,
            invocation_unknown: Duration::from_millis(50),
            agents: true,
            image_pending: Duration::from_millis(300),
            terminating: Duration::from_millis(100),
            expired: false,
            prices: true,
            caller: None,
            functions: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Default)]
struct ControlState {
    log: Vec<LoggedCall>,
    history: Vec<LoggedCall>,
    boots: Vec<(String, Instant)>,
    orders: Vec<CallOrder>,
    allowed: Option<BTreeSet<String>>,
    violations: Vec<String>,
    conditions: Conditions,
}

/// When spot instances of which notice was given end, by their ids.
type SpotEnds = BTreeMap<String, (Instant, Timestamp)>;

/// Orders and log, which the proxy and the tests share.
#[derive(Debug, Default)]
pub struct Control {
    state: Mutex<ControlState>,
    /// Faults of the lines to instances.
    pub lines: Lines,
    interruptions: watch::Sender<SpotEnds>,
}

/// The decision of what the proxy does with a call.
pub struct CallVerdict {
    /// How long the proxy waits first.
    pub delay: Duration,
    /// The answer to give instead of asking anybody.
    pub refusal: Option<Response>,
    /// Whether the call is carried out and the connection dropped without a reply.
    pub cut: bool,
    /// The call's place in the log.
    pub number: usize,
}

impl Control {
    fn state(&self) -> MutexGuard<'_, ControlState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, name: &str, only: Option<(&str, &str)>, effect: Effect, left: Option<usize>) {
        let only = only.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.state().orders.push(CallOrder { name: name.to_owned(), only, effect, left });
    }

    /// Delays every call of a name (`ec2:RunInstances`; `*` means all).
    pub fn delay(&self, name: &str, by: Duration) {
        self.order(name, None, Effect::Delay(by), None);
    }

    /// Answers the next `times` calls of a name as AWS does to a caller who calls too often.
    pub fn throttle(&self, name: &str, times: usize) {
        self.order(name, None, Effect::Throttle, Some(times));
    }

    /// Carries out the next `times` calls of a name, and drops the connection instead of answering.
    pub fn cut(&self, name: &str, times: usize) {
        self.order(name, None, Effect::Cut, Some(times));
    }

    /// Refuses every call of a name because of missing permissions.
    pub fn deny(&self, name: &str) {
        self.order(name, None, Effect::Deny, None);
    }

    /// Refuses the next `times` calls of a name with an error of EC2, with status 400, or 500 for capacity as AWS does.
    pub fn fail(&self, name: &str, code: &str, message: &str, times: usize) {
        self.order(name, None, refusal(code, message), Some(times));
    }

    /// Refuses every call of a name whose parameter has a value, for example `("InstanceType", "c5.9xlarge")` or
    /// `("Placement.AvailabilityZone", "us-west-2a")`.
    pub fn fail_where(&self, name: &str, only: (&str, &str), code: &str, message: &str) {
        self.order(name, Some(only), refusal(code, message), None);
    }

    /// Takes a spot instance back: it can see the notice at once, and ends `after` that; AWS gives two minutes.
    pub fn interrupt(&self, instance: &str, after: Duration) {
        let end = (Instant::now() + after, Timestamp::now() + after);
        self.interruptions.send_modify(|ends| {
            ends.insert(instance.to_owned(), end);
        });
    }

    /// The notice as an instance sees it, where it was given.
    pub(crate) fn spot_notice(&self, instance: &str) -> Option<String> {
        let (_, at) = self.interruptions.borrow().get(instance).copied()?;
        Some(format!(r#"{{"action": "terminate", "time": "{at:.0}"}}"#))
    }

    /// Returns when a spot instance was taken back and its time is over; never for another.
    pub(crate) async fn until_interrupted(&self, instance: &str) {
        let mut ends = self.interruptions.subscribe();
        let end = match ends.wait_for(|ends| ends.contains_key(instance)).await {
            Ok(ends) => ends.get(instance).map(|(end, _)| *end),
            Err(_) => None,
        };
        match end {
            Some(end) => tokio::time::sleep_until(end.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Removes all orders.
    pub fn clear_orders(&self) {
        self.state().orders.clear();
    }

    /// Changes the conditions.
    pub fn set(&self, change: impl FnOnce(&mut Conditions)) {
        change(&mut self.state().conditions);
    }

    /// The conditions.
    pub fn conditions(&self) -> Conditions {
        self.state().conditions.clone()
    }

    /// Gives callers another address, like that of a laptop in another network: their lines stall, and nobody answers
    /// them until a rule lets this address in.
    pub fn move_callers(&self, to: IpAddr) {
        self.set(|conditions| conditions.caller = Some(to));
        self.lines.shut_out();
    }

    /// Refuses every further call outside of `allowed` (`service:Action`), and records it as a violation.
    pub fn allow_only(&self, allowed: &[&str]) {
        self.state().allowed = Some(allowed.iter().map(|name| (*name).to_owned()).collect());
    }

    /// Answers every further call.
    pub fn allow_all(&self) {
        self.state().allowed = None;
    }

    /// The calls that were not allowed.
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// The calls so far, in order of arrival.
    pub fn calls(&self) -> Vec<LoggedCall> {
        self.state().log.clone()
    }

    /// The names of the calls so far.
    pub fn names(&self) -> Vec<String> {
        self.state().log.iter().map(|logged| logged.name.clone()).collect()
    }

    /// The spans in which the calls so far waited for their answers, without the calls whose replies were cut.
    pub fn waits(&self) -> Vec<(Instant, Instant)> {
        self.state().log.iter().filter_map(|logged| Some((logged.came, logged.answered?))).collect()
    }

    /// How many calls of a name came; `*` means all.
    pub fn count(&self, name: &str) -> usize {
        self.state().log.iter().filter(|logged| name == "*" || logged.name == name).count()
    }

    /// Begins a new log of calls and boots; the calls of the old log go into the history.
    pub fn clear_log(&self) {
        let mut state = self.state();
        let log = std::mem::take(&mut state.log);
        state.history.extend(log);
        state.boots.clear();
    }

    /// The calls before those of the log.
    pub fn history(&self) -> Vec<LoggedCall> {
        self.state().history.clone()
    }

    /// Logs a call and decides what happens to it.
    pub fn judge(&self, call: &Call) -> CallVerdict {
        let mut state = self.state();
        let number = state.log.len();
        state.log.push(LoggedCall {
            name: call.name(),
            call: call.clone(),
            status: 0,
            reply: String::new(),
            came: Instant::now(),
            answered: None,
        });
        let mut verdict = CallVerdict { delay: Duration::ZERO, refusal: None, cut: false, number };
        if state.allowed.as_ref().is_some_and(|allowed| !allowed.contains(&call.name())) {
            state.violations.push(call.name());
            let message = format!("the plan of this test does not contain {}", call.name());
            verdict.refusal = Some(call.refuse(400, "UnplannedCall", &message));
            return verdict;
        }
        if state.conditions.expired {
            verdict.refusal = Some(call.expired());
            return verdict;
        }
        for order in state.orders.iter_mut().filter(|order| order.fits(call)) {
            let refusal = match &order.effect {
                Effect::Delay(by) => {
                    verdict.delay += *by;
                    continue;
                }
                Effect::Cut if verdict.cut || verdict.refusal.is_some() => continue,
                Effect::Cut => None,
                _ if verdict.refusal.is_some() => continue,
                Effect::Refuse { status, code, message } => Some(call.refuse(*status, code, message)),
                Effect::Throttle => Some(call.throttled()),
                Effect::Deny => Some(call.denied()),
            };
            order.left = order.left.map(|left| left.saturating_sub(1));
            match refusal {
                Some(refusal) => verdict.refusal = Some(refusal),
                None => verdict.cut = true,
            }
        }
        verdict
    }

    /// Logs the answer to a call.
    pub fn log_answer(&self, number: usize, response: &Response) {
        let mut state = self.state();
        let status = response.status;
        let caller = state.conditions.caller.map(|caller| format!("{caller}/32"));
        let Some(logged) = state.log.get_mut(number) else { return };
        logged.status = status;
        logged.reply = response.text();
        logged.answered = Some(Instant::now());
        let admits = logged.name == "ec2:AuthorizeSecurityGroupIngress" && status == 200;
        if admits && caller.is_some_and(|caller| logged.call.params.values().any(|value| *value == caller)) {
            self.lines.let_in();
        }
    }

    /// Logs that port 22 of an instance answers.
    pub fn log_boot(&self, id: &str) {
        self.state().boots.push((id.to_owned(), Instant::now()));
    }

    /// The instances whose port 22 has answered so far, each with the first time at which it did.
    pub fn boots(&self) -> Vec<(String, Instant)> {
        self.state().boots.clone()
    }
}

fn refusal(code: &str, message: &str) -> Effect {
    let status = if code.starts_with("Insufficient") { 500 } else { 400 };
    Effect::Refuse { status, code: code.to_owned(), message: message.to_owned() }
}
