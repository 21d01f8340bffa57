//! What each of Moraine's service accounts may do: no more than a list that is checked in, and of the
//! objects that belong to nodes only their own node's.
// Helpers of tests fail the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use moraine_e2e::{Case, Outcome, Tool, chart, helm, kubectl, repository};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use tempfile::NamedTempFile;

const LIST: &str = "tests/e2e/tests/snapshots/rbac.txt";

/// The rules of each service account, one line per resource, in order.
fn rules_by_account() -> BTreeMap<String, Vec<String>> {
    let text = helm(["template", chart::RELEASE, "--namespace", chart::NAMESPACE])
        .arg(chart::folder())
        .arg("--kube-version=1.37.2")
        .run()
        .unwrap();
    let objects: Vec<Value> = text
        .split("\n---")
        .map(|text| serde_yaml::from_str(text).unwrap())
        .collect();
    let of_kind = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
    let mut accounts: BTreeMap<String, Vec<String>> = of_kind("ServiceAccount")
        .map(|account| {
            (
                account["metadata"]["name"].as_str().unwrap().to_owned(),
                Vec::new(),
            )
        })
        .collect();
    for (binding_kind, where_it_holds) in [
        ("ClusterRoleBinding", "cluster"),
        ("RoleBinding", "namespace"),
    ] {
        for binding in of_kind(binding_kind) {
            let role_kind = binding["roleRef"]["kind"].as_str().unwrap();
            let role = objects
                .iter()
                .find(|o| {
                    o["kind"] == role_kind && o["metadata"]["name"] == binding["roleRef"]["name"]
                })
                .expect("the chart brings the roles that it binds");
            for subject in binding["subjects"].as_array().unwrap() {
                assert_eq!(subject["kind"], "ServiceAccount");
                let account = accounts.get_mut(subject["name"].as_str().unwrap()).unwrap();
                for rule in role["rules"].as_array().unwrap() {
                    lines(where_it_holds, rule, account);
                }
            }
        }
    }
    for lines in accounts.values_mut() {
        lines.sort();
    }
    accounts
}

fn lines(where_it_holds: &str, rule: &Value, into: &mut Vec<String>) {
    let words = |key: &str| -> Vec<String> {
        let items = rule[key].as_array().into_iter().flatten();
        items
            .map(|item| item.as_str().unwrap().to_owned())
            .collect()
    };
    let only = words("resourceNames");
    let only = if only.is_empty() {
        String::new()
    } else {
        format!(" named {}", only.join(", "))
    };
    for group in words("apiGroups") {
        for resource in words("resources") {
            let group = if group.is_empty() { "core" } else { &group };
            into.push(format!(
                "{where_it_holds}: {resource}.{group}{only}: {}",
                words("verbs").join(", ")
            ));
        }
    }
    assert!(
        rule["nonResourceURLs"].is_null(),
        "nothing needs paths beside the API"
    );
}

#[test]
fn each_account_may_do_what_the_list_says_and_nothing_else() {
    let mut list = String::from(
        "What each of Moraine's service accounts may do. If a change is meant, put it here:\n\
         the test that compares says what has to stand in this file.\n",
    );
    for (account, rules) in rules_by_account() {
        writeln!(list, "\n{account}").unwrap();
        if rules.is_empty() {
            writeln!(list, "  nothing").unwrap();
        }
        for rule in rules {
            writeln!(list, "  {rule}").unwrap();
        }
    }
    let checked_in = std::fs::read_to_string(repository().join(LIST)).unwrap_or_default();
    assert!(checked_in == list, "{LIST} should be:\n{list}");
}

#[test]
fn no_account_has_a_wildcard_or_reads_what_it_must_not() {
    for (account, rules) in rules_by_account() {
        for rule in rules {
            for never in [
                "*",
                "secrets.",
                "pods.",
                "pods/",
                "escalate",
                "impersonate",
                "serviceaccounts",
            ] {
                assert!(!rule.contains(never), "{account}: {rule}");
            }
        }
    }
}

#[test]
fn the_cluster_says_the_same() {
    chart::install().unwrap();
    for (account, question, expected) in [
        (
            "moraine-operator",
            "patch storagepools.moraine.io --subresource=status",
            true,
        ),
        ("moraine-operator", "patch storagepools.moraine.io", false),
        (
            "moraine-operator",
            "update bucketmaps.moraine.io --subresource=status",
            true,
        ),
        ("moraine-operator", "delete bucketmaps.moraine.io", false),
        ("moraine-operator", "watch nodes", true),
        ("moraine-operator", "get secrets", false),
        ("moraine-operator", "delete storagepools.moraine.io", false),
        (
            "moraine-operator",
            "update leases/moraine-operator -n moraine-system",
            true,
        ),
        (
            "moraine-operator",
            "update leases/moraine-node-n1 -n moraine-system",
            false,
        ),
        ("moraine-operator", "create leases -n default", false),
        ("moraine-agent", "create storagenodes.moraine.io", true),
        ("moraine-agent", "delete storagenodes.moraine.io", false),
        ("moraine-agent", "watch bucketmaps.moraine.io", true),
        ("moraine-agent", "patch bucketmaps.moraine.io", false),
        ("moraine-agent", "list nodes", false),
        ("moraine-agent", "get pods", false),
        ("moraine-agent", "get secrets -n moraine-system", false),
        ("moraine-csi-node", "get nodes", false),
        ("moraine-csi-node", "get storagenodes.moraine.io", false),
    ] {
        let mut call = kubectl(["auth", "can-i"]).arg(format!(
            "--as=system:serviceaccount:{}:{account}",
            chart::NAMESPACE
        ));
        for word in question.split(' ') {
            call = call.arg(word);
        }
        let outcome = call.outcome().unwrap();
        let answer = outcome.stdout.trim();
        assert!(["yes", "no"].contains(&answer), "{question}: {outcome:?}");
        assert_eq!(answer == "yes", expected, "may {account} {question}?");
    }
}

/// What a program in a pod on a node has: the pod's token.
struct OnNode {
    identity: NamedTempFile,
}

impl OnNode {
    fn new(case: &Case, node: &str, account: &str) -> Self {
        let name = case.name(&format!("on-{node}"));
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": chart::NAMESPACE},
            "spec": {
                "nodeName": node,
                "serviceAccountName": account,
                // It never runs: its token is all that is wanted.
                "containers": [{"name": "none", "image": "moraine.invalid/none:0", "imagePullPolicy": "Never"}],
                "tolerations": [{"operator": "Exists"}],
                "terminationGracePeriodSeconds": 0,
            },
        });
        case.create(&pod).unwrap();
        let place = format!("--namespace={}", chart::NAMESPACE);
        let token = kubectl([
            "create",
            "token",
            account,
            &place,
            "--bound-object-kind=Pod",
        ])
        .arg(format!("--bound-object-name={name}"))
        .run()
        .unwrap();
        Self {
            identity: identity(token.trim()),
        }
    }

    /// Tries to write an object with the pod's token. Nothing is kept.
    fn writes(&self, object: &Value, options: &[&str]) -> Outcome {
        try_to_write(self.identity.path(), object, options)
    }
}

/// A kubeconfig of the cluster with this token and nothing else of the environment's identity.
fn identity(token: &str) -> NamedTempFile {
    let mut config = kubectl(["config", "view", "--raw", "--minify", "--flatten"])
        .json()
        .unwrap();
    config["users"][0]["user"] = json!({"token": token});
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), config.to_string()).unwrap();
    file
}

fn try_to_write(identity: &Path, object: &Value, options: &[&str]) -> Outcome {
    let mut call: Tool = kubectl([
        "apply",
        "--server-side",
        "--dry-run=server",
        "--force-conflicts",
    ])
    .arg("--field-manager=moraine-e2e")
    .arg("-f")
    .arg("-")
    .input(object.to_string())
    .kubeconfig(identity);
    for option in options {
        call = call.arg(option);
    }
    call.outcome().unwrap()
}

fn storage_node(name: &str) -> Value {
    json!({
        "apiVersion": "moraine.io/v1alpha1",
        "kind": "StorageNode",
        "metadata": {"name": name, "labels": {"moraine.io/e2e": "x"}},
    })
}

fn lease(name: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": chart::NAMESPACE},
        "spec": {"holderIdentity": "x"},
    })
}

/// Two nodes of the cluster, with a StorageNode each: the agent's, or one made here.
fn two_nodes(case: &Case) -> [String; 2] {
    let nodes = kubectl(["get", "nodes"]).json().unwrap();
    let names: Vec<String> = nodes["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    let [first, second] = names
        .get(..2)
        .expect("this test needs a cluster of two nodes or more")
    else {
        unreachable!("two were taken")
    };
    for name in [first, second] {
        let known = || {
            kubectl(["get", "storagenode", name])
                .outcome()
                .unwrap()
                .succeeded
        };
        if !known() {
            let mut object = storage_node(name);
            object["spec"] = json!({});
            let made = case.create(&object);
            // The node's agent may have been faster.
            assert!(made.is_ok() || known(), "{made:?}");
        }
    }
    [first.clone(), second.clone()]
}

fn accepted(outcome: &Outcome) {
    assert!(outcome.succeeded, "{}", outcome.stderr);
}

fn refused(outcome: &Outcome, why: &str) {
    assert!(!outcome.succeeded, "it was accepted: {}", outcome.stdout);
    assert!(
        outcome.stderr.contains(why),
        "expected {why:?}: {}",
        outcome.stderr
    );
}

#[test]
fn what_runs_on_a_node_writes_that_nodes_objects_only() {
    chart::install().unwrap();
    let case = Case::new("chart_node_policy");
    let [here, other] = two_nodes(&case);
    let agent = OnNode::new(&case, &here, "moraine-agent");

    accepted(&agent.writes(&storage_node(&here), &[]));
    let only =
        format!("a program on node {here} may write the StorageNode {here} only, not {other}");
    refused(&agent.writes(&storage_node(&other), &[]), &only);

    let mut new = storage_node(&case.name("node"));
    new["spec"] = json!({});
    refused(
        &agent.writes(&new, &[]),
        &format!("may write the StorageNode {here} only"),
    );

    let status = |name: &str| {
        let mut object = storage_node(name);
        object["status"] = json!({"version": "x"});
        object["metadata"]["labels"].take();
        object
    };
    accepted(&agent.writes(&status(&here), &["--subresource=status"]));
    refused(
        &agent.writes(&status(&other), &["--subresource=status"]),
        &only,
    );

    accepted(&agent.writes(&lease(&format!("moraine-node-{here}")), &[]));
    let others = format!("moraine-node-{other}");
    let only = format!(
        "a program on node {here} may write the Lease moraine-node-{here} only, not {others}"
    );
    refused(&agent.writes(&lease(&others), &[]), &only);
    refused(
        &agent.writes(&lease("moraine-operator"), &[]),
        "only, not moraine-operator",
    );

    let mut evicting = storage_node(&here);
    evicting["spec"] = json!({"evict": true});
    let people =
        "the spec of a StorageNode is for people to write; the node's programs write its status";
    refused(&agent.writes(&evicting, &[]), people);
}

#[test]
fn a_token_that_names_no_node_writes_nothing() {
    chart::install().unwrap();
    let case = Case::new("chart_node_policy_token");
    let [here, _] = two_nodes(&case);
    let place = format!("--namespace={}", chart::NAMESPACE);
    let token = kubectl(["create", "token", "moraine-agent", &place])
        .run()
        .unwrap();
    let identity = identity(token.trim());
    let why = "the token names no node: use the token that Kubernetes mounts into the pod";
    refused(
        &try_to_write(identity.path(), &storage_node(&here), &[]),
        why,
    );
}

#[test]
fn people_write_what_they_may() {
    chart::install().unwrap();
    let case = Case::new("chart_node_policy_people");
    let [here, _] = two_nodes(&case);
    let admin = std::env::var("KUBECONFIG").unwrap();
    let mut evicting = storage_node(&here);
    evicting["spec"] = json!({"evict": true});
    accepted(&try_to_write(Path::new(&admin), &evicting, &[]));
}
