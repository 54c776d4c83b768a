//! Systems Manager: the public parameters that moto lacks, and commands that are really run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use model::machine::Platform;
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use super::call::Call;
use super::http::Response;
use super::machines::{CommandOutcome, Machines};
use super::proxy::Proxy;
use super::seeds;

/// The most characters of standard output and of standard error in an answer of `GetCommandInvocation`.
const OUTPUT_CAPS: (usize, usize) = (24_000, 8_000);

/// The text at the end of output that was cut.
const CUT: &str = "--output truncated--";

/// How long a command without a limit of its own may run, by the documents.
const EXECUTION_LIMIT: Duration = Duration::from_secs(3600);

/// The documents that run a script, each for instances of one system.
const DOCUMENTS: [(&str, Platform); 2] =
    [("AWS-RunShellScript", Platform::Linux), ("AWS-RunPowerShellScript", Platform::Windows)];

/// A command on one instance.
#[derive(Debug, Clone)]
struct Invocation {
    sent: Instant,
    status: &'static str,
    outcome: CommandOutcome,
    task: Option<AbortHandle>,
}

type Invocations = Arc<Mutex<BTreeMap<(String, String), Invocation>>>;

/// Commands and their results.
#[derive(Debug, Default)]
pub(crate) struct Ssm {
    invocations: Invocations,
}

fn lock(invocations: &Invocations) -> MutexGuard<'_, BTreeMap<(String, String), Invocation>> {
    invocations.lock().unwrap_or_else(PoisonError::into_inner)
}

fn strings(value: &Value) -> Vec<String> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The id of a command, in the form of a UUID.
fn command_id() -> String {
    let mut bytes = [0_u8; 16];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    let hex = HEXLOWER.encode(&bytes);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// Output as the service returns it: text, cut to `most` characters.
fn truncate(bytes: &[u8], most: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    if text.chars().count() <= most {
        return text.into_owned();
    }
    text.chars().take(most - CUT.len()).collect::<String>() + CUT
}

impl Ssm {
    /// Answers a call.
    pub(crate) async fn answer(&self, proxy: &Proxy, call: &Call) -> Response {
        match &*call.action {
            "GetParameter" => match parameter(call.body["Name"].as_str().unwrap_or_default()) {
                Some(found) => call.json(&json!({"Parameter": found})),
                None => proxy.forward(call).await,
            },
            "GetParameters" => parameters(proxy, call).await,
            "SendCommand" => self.send(proxy, call),
            "GetCommandInvocation" => self.invocation(proxy, call),
            "CancelCommand" => self.cancel(call),
            "DescribeInstanceInformation" => information(proxy, call),
            _ => proxy.forward(call).await,
        }
    }

    fn send(&self, proxy: &Proxy, call: &Call) -> Response {
        let instances = strings(&call.body["InstanceIds"]);
        let managed = |id: &String| proxy.machines().is_some_and(|machines| machines.is_managed(id));
        let machines = match proxy.machines() {
            Some(machines) if !instances.is_empty() && instances.iter().all(managed) => machines,
            _ => return call.refuse(400, "InvalidInstanceId", "Instances not in a valid state for account"),
        };
        let document = call.body["DocumentName"].as_str().unwrap_or_default();
        let Some((_, platform)) = DOCUMENTS.iter().find(|(name, _)| *name == document) else {
            return call.refuse(
                400,
                "InvalidDocument",
                "only AWS-RunShellScript and AWS-RunPowerShellScript are emulated",
            );
        };
        if instances.iter().any(|id| machines.platform(id) != Some(*platform)) {
            return call.refuse(
                400,
                "UnsupportedPlatformType",
                "the document is not for the platform of every instance",
            );
        }
        let parameters = &call.body["Parameters"];
        let folder = strings(&parameters["workingDirectory"]).pop().unwrap_or_default();
        let change = match (folder.is_empty(), platform) {
            (true, _) => String::new(),
            (false, Platform::Linux) => format!("cd '{folder}'\n"),
            (false, Platform::Windows) => format!("Set-Location -LiteralPath '{folder}'\n"),
        };
        let script = change + &strings(&parameters["commands"]).join("\n") + "\n";
        let limit = strings(&parameters["executionTimeout"]).pop().and_then(|text| text.parse().ok());
        let limit = limit.map_or(EXECUTION_LIMIT, Duration::from_secs);
        let command = command_id();
        for instance in &instances {
            self.begin(machines, &command, instance, &script, limit);
        }
        let count = instances.len();
        call.json(&json!({"Command": {
            "CommandId": command, "DocumentName": document, "InstanceIds": instances, "Parameters": parameters,
            "Status": "Pending", "StatusDetails": "Pending", "RequestedDateTime": 1_793_000_000, "TargetCount": count,
            "CompletedCount": 0, "ErrorCount": 0, "MaxConcurrency": "50", "MaxErrors": "0",
        }}))
    }

    fn begin(&self, machines: &Arc<Machines>, command: &str, instance: &str, script: &str, limit: Duration) {
        let key = (command.to_owned(), instance.to_owned());
        let first =
            Invocation { sent: Instant::now(), status: "InProgress", outcome: CommandOutcome::default(), task: None };
        lock(&self.invocations).insert(key.clone(), first);
        let (machines, script, invocations) = (Arc::clone(machines), script.to_owned(), Arc::clone(&self.invocations));
        let place = key.clone();
        let task = tokio::spawn(async move {
            let ran = tokio::time::timeout(limit, machines.run(&place.1, &script)).await;
            let (status, outcome) = match ran {
                Err(_) => ("TimedOut", CommandOutcome::default()),
                Ok(outcome) if outcome.code == Some(0) => ("Success", outcome),
                // An instance that is gone answers no more, so the service never learns the end.
                Ok(outcome) if outcome.code.is_none() => ("DeliveryTimedOut", outcome),
                Ok(outcome) => ("Failed", outcome),
            };
            if let Some(invocation) = lock(&invocations).get_mut(&place).filter(|found| found.status == "InProgress") {
                (invocation.status, invocation.outcome) = (status, outcome);
            }
        });
        if let Some(invocation) = lock(&self.invocations).get_mut(&key) {
            invocation.task = Some(task.abort_handle());
        }
    }

    fn invocation(&self, proxy: &Proxy, call: &Call) -> Response {
        let text = |name: &str| call.body[name].as_str().unwrap_or_default().to_owned();
        let (command, instance) = (text("CommandId"), text("InstanceId"));
        let found = lock(&self.invocations).get(&(command.clone(), instance.clone())).cloned();
        let unknown = proxy.control.conditions().invocation_unknown;
        let Some(found) = found.filter(|found| found.sent.elapsed() >= unknown) else {
            return call.refuse(400, "InvocationDoesNotExist", "");
        };
        // The service's status is only `TimedOut`; the details say what timed out.
        let status = if found.status == "DeliveryTimedOut" { "TimedOut" } else { found.status };
        let windows = proxy.machines().and_then(|machines| machines.platform(&instance)) == Some(Platform::Windows);
        let (document, _) = DOCUMENTS[usize::from(windows)];
        let plugin = if windows { "aws:runPowerShellScript" } else { "aws:runShellScript" };
        let details = if status == "TimedOut" && found.status == status { "ExecutionTimedOut" } else { found.status };
        call.json(&json!({
            "CommandId": command, "InstanceId": instance, "DocumentName": document, "DocumentVersion": "1",
            "PluginName": plugin, "ResponseCode": found.outcome.code.unwrap_or(-1), "Status": status,
            "StatusDetails": details, "StandardOutputContent": truncate(&found.outcome.stdout, OUTPUT_CAPS.0),
            "StandardErrorContent": truncate(&found.outcome.stderr, OUTPUT_CAPS.1), "StandardOutputUrl": "", "StandardErrorUrl": "",
        }))
    }

    fn cancel(&self, call: &Call) -> Response {
        let command = call.body["CommandId"].as_str().unwrap_or_default();
        let only = strings(&call.body["InstanceIds"]);
        let mut invocations = lock(&self.invocations);
        let wanted = |key: &(String, String)| key.0 == command && (only.is_empty() || only.contains(&key.1));
        for (_, invocation) in invocations.iter_mut().filter(|(key, found)| wanted(key) && found.status == "InProgress")
        {
            invocation.status = "Cancelled";
            if let Some(task) = invocation.task.take() {
                task.abort();
            }
        }
        call.json(&json!({}))
    }
}

/// Lists the instances that have an agent; only filters by id are supported.
fn information(proxy: &Proxy, call: &Call) -> Response {
    let filters = [("Filters", "Key", "Values"), ("InstanceInformationFilterList", "key", "valueSet")];
    let mut wanted = Vec::new();
    for (list, key, values) in filters {
        for filter in call.body[list].as_array().map(Vec::as_slice).unwrap_or_default() {
            if filter[key] == "InstanceIds" {
                wanted.extend(strings(&filter[values]));
            }
        }
    }
    let all = proxy.machines().map(|machines| machines.all_managed()).unwrap_or_default();
    let shown = all.into_iter().filter(|(id, _)| wanted.is_empty() || wanted.contains(id));
    let list: Vec<Value> = shown
        .map(|(id, platform)| {
            let (kind, system) = match platform {
                Platform::Linux => ("Linux", "Debian GNU/Linux"),
                Platform::Windows => ("Windows", "Microsoft Windows Server 2022 Datacenter"),
            };
            json!({
                "InstanceId": id, "PingStatus": "Online", "LastPingDateTime": 1_793_000_000, "AgentVersion": "3.3.0.0",
                "IsLatestVersion": true, "PlatformType": kind, "PlatformName": system,
                "ResourceType": "EC2Instance",
            })
        })
        .collect();
    call.json(&json!({"InstanceInformationList": list}))
}

/// The parameter of a distribution, as the service returns it.
fn parameter(name: &str) -> Option<Value> {
    let base = seeds::BASES.iter().find(|base| !base.parameter.is_empty() && base.parameter == name)?;
    Some(json!({
        "Name": name, "Type": "String", "Value": base.id, "Version": 1, "DataType": "aws:ec2:image",
        "LastModifiedDate": 1_793_000_000, "ARN": format!("arn:aws:ssm:us-west-2::parameter{name}"),
    }))
}

async fn parameters(proxy: &Proxy, call: &Call) -> Response {
    let names = call.body["Names"].as_array().cloned().unwrap_or_default();
    let (mut found, mut rest) = (Vec::new(), Vec::new());
    for name in names {
        match parameter(name.as_str().unwrap_or_default()) {
            Some(value) => found.push(value),
            None => rest.push(name),
        }
    }
    if rest.is_empty() {
        return call.json(&json!({"Parameters": found, "InvalidParameters": []}));
    }
    let mut forwarded = call.clone();
    forwarded.body["Names"] = Value::Array(rest);
    let reply = proxy.forward(&forwarded).await;
    match serde_json::from_slice::<Value>(&reply.body) {
        Ok(mut body) if reply.is_success() => {
            if let Some(list) = body["Parameters"].as_array_mut() {
                list.extend(found);
            }
            call.json(&body)
        }
        _ => reply,
    }
}
