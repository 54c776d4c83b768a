//! The minimal permissions that each command needs, as an IAM policy.
//!
//! A [`Grant`] is a part of a statement; a command is a list of grants. Where AWS can recognise our resources by tag or
//! name, the statement is bound to them: searches cannot be narrowed; a call that makes a resource must put our tag on
//! it; a call that ends or changes one must find the tag there, or is bound to the exact name of a resource that an
//! account has once. With an owner, everything but the resources that people share is bound to that owner's tag. A
//! decision engine in the tests compares this table with the calls that the emulator saw.
//!
//! Deliberately absent by default: any permission to end resources without a tag. AWS cannot always tell resources that
//! only have a name like ours from others, so these permissions are statements of their own, on request
//! ([`Scope::untagged`]).

mod grants;

use std::collections::BTreeSet;

use grants::{
    BAKE, BAKE_MARKED, CALL_TRY, CHOOSE, COLLECT, END, END_NAMED, GROUP, GROUP_IN, Grant, IDENTITY, KEY_PAIR, LAUNCH,
    LAUNCH_FROM, LAUNCH_IN, LIST_ROLES, LOOK, LOOK_AROUND, LOOK_NAMED, MANAGE, MANAGE_BY, MANAGE_FOLLOW, PARAMETER,
    PASS_ROLE, PROFILE, PROFILE_NEW, REGIONS, REMOVE, REMOVE_NAMED, REMOVE_ROLES, REMOVE_RULES, REMOVE_UNMARKED, ROLE,
    ROLE_BOUND, ROLE_LOOK, ROLE_NARROW, ROLE_TAG, RULES, RULES_NEW, RULES_OLD, RULES_RENEW, Requirement, SPOT_ROLE,
    TAG,
};
use serde_json::{Map, Value, json};

/// The person and the resources that a policy is for.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The person whose resources may be ended and changed; everybody's if nobody is named.
    pub owner: Option<String>,
    /// Whether resources without our tags may be ended because of their names.
    pub untagged: bool,
}

/// The grants for making machines, using them and ending them.
const MACHINES: &[&[&Grant]] = &[
    &[&IDENTITY, &LOOK, &LOOK_AROUND, &CHOOSE, &PARAMETER],
    &[&KEY_PAIR, &GROUP, &GROUP_IN, &RULES, &RULES_NEW, &RULES_OLD, &RULES_RENEW],
    &[&TAG, &LAUNCH, &LAUNCH_FROM, &LAUNCH_IN, &SPOT_ROLE, &END],
    &[&ROLE_LOOK, &PROFILE, &PROFILE_NEW, &ROLE_BOUND, &ROLE, &ROLE_TAG, &ROLE_NARROW, &PASS_ROLE],
    &[&MANAGE, &MANAGE_BY, &MANAGE_FOLLOW],
];

/// The additional grants for keeping images.
const IMAGES: &[&Grant] = &[&BAKE, &BAKE_MARKED, &COLLECT];

/// The commands that use AWS.
const COMMANDS: [&str; 20] = [
    "audit",
    "bootstrap-linux-dev",
    "bootstrap-windows-dev",
    "build-all-windows-packages",
    "build-inno",
    "build-windows-installer",
    "build-windows-wheel",
    "build-wix",
    "doctor",
    "image",
    "machine",
    "purge-ec2-resources",
    "run",
    "run-tests",
    "run-tests-linux",
    "run-tests-windows",
    "runs",
    "status",
    "terminate-ec2-instances",
    "try",
];

/// The grants that a command needs.
fn grants(command: &str, scope: &Scope) -> Vec<&'static Grant> {
    let mut grants: Vec<&Grant> = match command {
        // An audit looks at everything that a journal can name, and ends what nobody uses.
        "audit" => vec![&IDENTITY, &LOOK, &LOOK_AROUND, &END, &COLLECT, &ROLE_LOOK],
        "doctor" => vec![&IDENTITY, &CHOOSE],
        // A command that makes a machine bakes its image first if there is none.
        "bootstrap-linux-dev"
        | "bootstrap-windows-dev"
        | "build-all-windows-packages"
        | "build-inno"
        | "build-windows-installer"
        | "build-windows-wheel"
        | "build-wix"
        | "image"
        | "machine"
        | "run"
        | "run-tests"
        | "run-tests-linux"
        | "run-tests-windows" => [&MACHINES.concat(), IMAGES].concat(),
        // Attaching to a run reports its cost and releases its machine; from another address it first has to be let in.
        "runs" => vec![
            &IDENTITY,
            &LOOK,
            &LOOK_AROUND,
            &CHOOSE,
            &END,
            &GROUP,
            &GROUP_IN,
            &RULES,
            &RULES_NEW,
            &RULES_OLD,
            &RULES_RENEW,
            &TAG,
        ],
        // What machines have cost by now.
        "status" => vec![&IDENTITY, &LOOK, &LOOK_AROUND, &CHOOSE, &END],
        "terminate-ec2-instances" => vec![&IDENTITY, &LOOK, &END],
        "try" => vec![&IDENTITY, &CALL_TRY],
        "purge-ec2-resources" => vec![
            &IDENTITY,
            &LOOK,
            &LOOK_AROUND,
            &REGIONS,
            &END,
            &REMOVE,
            &REMOVE_RULES,
            &LIST_ROLES,
            &ROLE_LOOK,
            &REMOVE_ROLES,
        ],
        _ => Vec::new(),
    };
    if scope.untagged {
        grants.extend(match command {
            "terminate-ec2-instances" => vec![&END_NAMED],
            "purge-ec2-resources" => vec![&END_NAMED, &REMOVE_UNMARKED, &REMOVE_NAMED, &LOOK_NAMED],
            _ => Vec::new(),
        });
    }
    grants
}

/// The commands that need permissions.
pub fn commands() -> impl Iterator<Item = &'static str> {
    COMMANDS.into_iter()
}

/// The actions that `command` may call, as `service:Action`.
pub fn actions(command: &str) -> BTreeSet<&'static str> {
    let whole = Scope { owner: None, untagged: true };
    grants(command, &whole).iter().flat_map(|grant| grant.actions.iter().copied()).collect()
}

/// The policy for all of `commands`. Grants with the same resources and conditions become one statement, because the
/// length of a policy is limited.
pub fn document(commands: &[&str], scope: &Scope) -> Value {
    let mut merged: Vec<(&Grant, BTreeSet<&str>)> = Vec::new();
    for grant in commands.iter().flat_map(|command| grants(command, scope)) {
        let is_alike = |other: &Grant| other.resources == grant.resources && other.conditions == grant.conditions;
        match merged.iter_mut().find(|(other, _)| is_alike(other)) {
            Some((_, actions)) => actions.extend(grant.actions),
            None => merged.push((grant, grant.actions.iter().copied().collect())),
        }
    }
    let statements: Vec<Value> = merged.iter().map(|(grant, actions)| statement(grant, actions, scope)).collect();
    json!({ "Version": "2012-10-17", "Statement": statements })
}

fn statement(grant: &Grant, actions: &BTreeSet<&str>, scope: &Scope) -> Value {
    let mut statement = json!({
        "Sid": grant.sid,
        "Effect": "Allow",
        "Action": actions,
        "Resource": grant.resources,
    });
    let mut conditions: Map<String, Value> = Map::new();
    for (operator, key, is) in grant.conditions {
        let (operator, values) = match (is, &scope.owner) {
            (Requirement::Any(values), _) => (*operator, json!(values)),
            // Without an owner, the condition is that the tag exists.
            (Requirement::Owner, None) => ("Null", json!(["false"])),
            (Requirement::Owner, Some(owner)) => (*operator, json!([owner])),
        };
        // Several keys of one operator stand in one object.
        let of_operator = conditions.entry(operator.to_owned()).or_insert_with(|| json!({}));
        of_operator[*key] = values;
    }
    if !conditions.is_empty() {
        statement["Condition"] = Value::Object(conditions);
    }
    statement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ec2::tags;

    /// The most characters without blanks that a managed policy may have.
    const POLICY_CAP: usize = 6144;

    fn all(scope: &Scope) -> Value {
        document(&commands().collect::<Vec<_>>(), scope)
    }

    fn statements(document: &Value) -> &Vec<Value> {
        document["Statement"].as_array().unwrap()
    }

    fn actions_of(statement: &Value) -> Vec<&str> {
        statement["Action"].as_array().unwrap().iter().filter_map(Value::as_str).collect()
    }

    #[test]
    fn a_policy_fits_and_has_each_statement_once() {
        let whole = all(&Scope { owner: Some("somebody@a-computer.example".into()), untagged: false });
        assert!(whole.to_string().len() <= POLICY_CAP, "{}", whole.to_string().len());
        let whole = all(&Scope { owner: None, untagged: true });
        let sids: Vec<&str> = statements(&whole).iter().map(|s| s["Sid"].as_str().unwrap()).collect();
        assert_eq!(sids.len(), sids.iter().collect::<BTreeSet<_>>().len());
        assert!(sids.iter().all(|sid| sid.chars().all(|c| c.is_ascii_alphanumeric())), "AWS takes no other characters");
    }

    #[test]
    fn every_command_has_actions_and_the_document_holds_just_them() {
        for command in commands() {
            let document = document(&[command], &Scope { owner: None, untagged: true });
            let allowed: BTreeSet<&str> = statements(&document).iter().flat_map(actions_of).collect();
            assert!(!allowed.is_empty() && allowed == actions(command), "{command}");
        }
        assert!(actions("completions").is_empty());
    }

    #[test]
    fn what_ends_or_changes_is_bound_to_our_tags_or_to_exact_names() {
        let ends = ["Cancel", "Delete", "Deregister", "Detach", "Put", "Remove", "Revoke", "Terminate", "Update"];
        for scope in [Scope::default(), Scope { owner: Some("me@here".into()), untagged: false }] {
            for statement in statements(&all(&scope)) {
                let ending = |action: &&str| {
                    let verb = action.split(':').nth(1).unwrap();
                    *action != "ssm:CancelCommand" && ends.iter().any(|end| verb.starts_with(end))
                };
                let exact = statement["Resource"].as_array().unwrap().iter().all(|resource| {
                    let resource = resource.as_str().unwrap();
                    [tags::ROLE, tags::INSTANCE_PROFILE].iter().any(|name| resource.ends_with(&format!("/{name}")))
                });
                let bound = statement["Condition"].to_string().contains("aws:ResourceTag/hg:owner\":[\"");
                let bound = bound && !statement["Condition"].to_string().contains("[\"true\"]");
                assert!(exact || bound || !actions_of(statement).iter().any(ending), "{statement}");
            }
        }
        let text = all(&Scope::default()).to_string();
        assert!(!text.contains("document/*") && !text.contains("role/hg-*") && !text.contains("Unmarked"), "{text}");
        let making = ["Add", "Attach", "Create", "Import", "PassRole", "Put", "Run", "Update"];
        for command in ["audit", "purge-ec2-resources", "terminate-ec2-instances"] {
            let makes = |action: &&&str| making.iter().any(|m| action.split(':').nth(1).unwrap().starts_with(m));
            assert_eq!(actions(command).iter().find(makes), None, "`{command}` makes nothing");
        }
    }

    #[test]
    fn an_owner_is_bound_to_what_is_the_owners() {
        let document = document(&["machine"], &Scope { owner: Some("me@here".into()), untagged: false });
        let of = |action: &str| statements(&document).iter().find(|s| actions_of(s).contains(&action)).unwrap();
        let terminate = of("ec2:TerminateInstances");
        assert_eq!(terminate["Condition"], json!({"StringEquals": {"aws:ResourceTag/hg:owner": ["me@here"]}}));
        let tag = statements(&document).iter().find(|s| s["Sid"] == "TagWhatIsMade").unwrap();
        assert_eq!(tag["Condition"]["StringEquals"]["aws:RequestTag/hg:owner"], json!(["me@here"]));
        assert!(tag["Condition"]["StringEquals"]["ec2:CreateAction"].is_array());
    }
}
