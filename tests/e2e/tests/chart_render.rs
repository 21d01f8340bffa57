//! What the chart makes of its values, by `helm lint` and `helm template`.
// Helpers of tests fail the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use moraine_e2e::{chart, helm};
use serde_json::Value;

/// What the chart renders with these settings, for a Kubernetes that it supports.
fn rendered(settings: &[&str]) -> Result<Vec<Value>, String> {
    rendered_for("1.37.2", settings)
}

fn rendered_for(kubernetes: &str, settings: &[&str]) -> Result<Vec<Value>, String> {
    let mut call = helm(["template", chart::RELEASE, "--namespace", chart::NAMESPACE])
        .arg(chart::folder())
        .arg(format!("--kube-version={kubernetes}"));
    for setting in settings {
        call = call.arg(setting);
    }
    let outcome = call.outcome().unwrap();
    if !outcome.succeeded {
        return Err(outcome.stderr);
    }
    let documents = outcome
        .stdout
        .split("\n---")
        .map(|text| serde_yaml::from_str(text).unwrap());
    Ok(documents
        .filter(|object: &Value| object.is_object())
        .collect())
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
}

fn get<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    find(objects, kind, name).unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

#[test]
fn lint_finds_nothing() {
    helm(["lint", "--strict"])
        .arg(chart::folder())
        .run()
        .unwrap();
}

#[test]
fn each_object_is_marked_as_the_charts() {
    let objects = rendered(&[]).unwrap();
    assert!(objects.len() > 20, "{} objects", objects.len());
    for object in &objects {
        let name = &object["metadata"]["name"];
        if object["kind"] == "CustomResourceDefinition" {
            // These outlive the release.
            assert_eq!(
                object["metadata"]["annotations"]["helm.sh/resource-policy"], "keep",
                "{name}"
            );
            continue;
        }
        let labels = &object["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/name"], "moraine", "{name}");
        assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm", "{name}");
    }
}

#[test]
fn pods_select_themselves_and_nobody_else() {
    let objects = rendered(&[]).unwrap();
    let mut components = Vec::new();
    for object in objects.iter().filter(|o| o["spec"]["template"].is_object()) {
        let wanted = object["spec"]["selector"]["matchLabels"]
            .as_object()
            .unwrap();
        let labels = &object["spec"]["template"]["metadata"]["labels"];
        for (key, value) in wanted {
            assert_eq!(&labels[key], value, "{}", object["metadata"]["name"]);
        }
        components.push(
            wanted["app.kubernetes.io/component"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    components.sort();
    assert_eq!(components, ["agent", "csi-node", "operator"]);
}

#[test]
fn containers_have_no_more_rights_than_they_need() {
    for (settings, privileged) in [
        (&[][..], &["agent"][..]),
        (&["--set=agent.rawDisks=false"], &[]),
    ] {
        let objects = rendered(settings).unwrap();
        let mut found = Vec::new();
        for object in objects.iter().filter(|o| o["spec"]["template"].is_object()) {
            let pod = &object["spec"]["template"]["spec"];
            assert_eq!(
                pod["securityContext"]["seccompProfile"]["type"],
                "RuntimeDefault"
            );
            let name = object["metadata"]["name"].as_str().unwrap();
            for host in ["hostPID", "hostIPC"] {
                assert!(pod[host].is_null(), "{host} of {name}");
            }
            // The agents alone, whose addresses must not change with their pods.
            assert_eq!(
                pod["hostNetwork"] == true,
                name == "moraine-agent",
                "{name}"
            );
            for container in pod["containers"].as_array().unwrap() {
                let context = &container["securityContext"];
                assert_eq!(context["readOnlyRootFilesystem"], true);
                if context["privileged"] == true {
                    found.push(container["name"].as_str().unwrap().to_owned());
                    continue;
                }
                assert_eq!(context["allowPrivilegeEscalation"], false);
                assert_eq!(context["capabilities"]["drop"][0], "ALL");
                assert!(context["capabilities"]["add"].is_null());
            }
        }
        assert_eq!(found, privileged, "{settings:?}");
        let operator = &get(&objects, "Deployment", "moraine-operator")["spec"]["template"]["spec"];
        assert_eq!(operator["securityContext"]["runAsNonRoot"], true);
        assert!(
            operator["volumes"].is_null(),
            "the operator needs nothing of its node"
        );
    }
}

#[test]
fn pods_see_only_these_folders_of_their_node() {
    let folders = |settings: &[&str]| {
        let objects = rendered(settings).unwrap();
        let mut found = Vec::new();
        for object in objects.iter().filter(|o| o["spec"]["template"].is_object()) {
            let volumes = object["spec"]["template"]["spec"]["volumes"].as_array();
            let volumes = volumes.into_iter().flatten();
            for volume in volumes.filter(|volume| volume["secret"].is_null()) {
                found.push(volume["hostPath"]["path"].as_str().unwrap().to_owned());
            }
        }
        found.sort();
        found
    };
    assert_eq!(
        folders(&[]),
        [
            "/dev",
            "/proc",
            "/var/lib/kubelet/plugins/block.csi.moraine.io",
            "/var/lib/kubelet/plugins_registry",
            "/var/lib/moraine"
        ]
    );
    assert_eq!(
        folders(&[
            "--set=agent.rawDisks=false,kubeletDir=/var/lib/k0s/kubelet,agent.dataDir=/srv/m"
        ]),
        [
            "/srv/m",
            "/var/lib/k0s/kubelet/plugins/block.csi.moraine.io",
            "/var/lib/k0s/kubelet/plugins_registry"
        ]
    );
}

#[test]
fn the_secret_of_the_data_plane_is_the_charts_or_the_users() {
    let mounted = |objects: &[Value]| {
        let pod = &get(objects, "DaemonSet", "moraine-agent")["spec"]["template"]["spec"];
        let volumes = pod["volumes"].as_array().unwrap();
        let secret = volumes.iter().find(|volume| volume["name"] == "secret");
        secret.unwrap()["secret"]["secretName"].clone()
    };
    let objects = rendered(&[]).unwrap();
    let made = get(&objects, "Secret", "moraine-data-plane");
    let text = made["data"]["secret"].as_str().unwrap();
    assert!(text.len() >= 64 * 4 / 3, "{} characters", text.len());
    assert_eq!(mounted(&objects), "moraine-data-plane");
    let objects = rendered(&["--set=dataPlane.secretName=ours"]).unwrap();
    assert!(objects.iter().all(|object| object["kind"] != "Secret"));
    assert_eq!(mounted(&objects), "ours");
}

#[test]
fn the_ports_of_the_agent_are_told_to_program_and_probes() {
    let ports = "--set=agent.dataPort=1001,agent.metricsPort=1002,agent.healthPort=1003";
    let objects = rendered(&[ports]).unwrap();
    let pod = &get(&objects, "DaemonSet", "moraine-agent")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let arguments = container["args"].as_array().unwrap();
    for argument in [
        "--data-port=1001",
        "--metrics-port=1002",
        "--health-port=1003",
    ] {
        assert!(arguments.iter().any(|said| said == argument), "{argument}");
    }
    for (name, port) in [("data", 1001), ("metrics", 1002), ("health", 1003)] {
        let ports = container["ports"].as_array().unwrap();
        let found = ports.iter().find(|found| found["name"] == name).unwrap();
        assert_eq!(found["containerPort"], port, "{name}");
    }
}

#[test]
fn values_reach_what_they_are_for() {
    let objects = rendered(&[
        "--set=image.repository=example.org/m,image.tag=x,image.pullPolicy=Never",
        "--set=imagePullSecrets[0].name=pull",
        "--set=operator.replicas=3,logging.level=debug,logging.format=text",
        "--set=agent.maxUnavailable=20%",
        "--set=storageClass.isDefault=true,storageClass.pool=fast,storageClass.reclaimPolicy=Retain",
    ])
    .unwrap();
    for (kind, name) in [
        ("Deployment", "moraine-operator"),
        ("DaemonSet", "moraine-agent"),
        ("DaemonSet", "moraine-csi-node"),
    ] {
        let pod = &get(&objects, kind, name)["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(container["image"], "example.org/m:x");
        assert_eq!(container["imagePullPolicy"], "Never");
        assert_eq!(pod["imagePullSecrets"][0]["name"], "pull");
        let environment = container["env"].as_array().unwrap();
        for (name, value) in [
            ("MORAINE_LOG_LEVEL", "debug"),
            ("MORAINE_LOG_FORMAT", "text"),
        ] {
            assert!(
                environment
                    .iter()
                    .any(|e| e["name"] == name && e["value"] == value),
                "{name}"
            );
        }
    }
    assert_eq!(
        get(&objects, "Deployment", "moraine-operator")["spec"]["replicas"],
        3
    );
    let agent = get(&objects, "DaemonSet", "moraine-agent");
    assert_eq!(
        agent["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"],
        "20%"
    );
    let class = get(&objects, "StorageClass", "moraine");
    assert_eq!(class["parameters"]["pool"], "fast");
    assert_eq!(class["reclaimPolicy"], "Retain");
    let default = &class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"];
    assert_eq!(default, "true");
}

#[test]
fn a_snapshot_class_is_made_where_there_are_snapshots() {
    let known = "--api-versions=snapshot.storage.k8s.io/v1/VolumeSnapshotClass";
    for (settings, expected) in [
        (&[][..], false),
        (&[known], true),
        (&["--set=volumeSnapshotClass.create=Always"], true),
        (&[known, "--set=volumeSnapshotClass.create=Never"], false),
    ] {
        let objects = rendered(settings).unwrap();
        let made = find(&objects, "VolumeSnapshotClass", "moraine");
        assert_eq!(made.is_some(), expected, "{settings:?}");
        if let Some(class) = made {
            assert_eq!(class["driver"], "block.csi.moraine.io");
        }
    }
}

#[test]
fn parts_can_be_left_out() {
    let objects = rendered(&["--set=crds.install=false,storageClass.create=false"]).unwrap();
    assert!(
        objects
            .iter()
            .all(|object| object["kind"] != "CustomResourceDefinition")
    );
    assert!(find(&objects, "StorageClass", "moraine").is_none());
    assert!(find(&objects, "CSIDriver", "block.csi.moraine.io").is_some());
}

#[test]
fn a_wrong_name_or_value_is_refused() {
    for (setting, refusal) in [
        (
            "operator.replics=3",
            "additional properties 'replics' not allowed",
        ),
        (
            "Operator.replicas=3",
            "additional properties 'Operator' not allowed",
        ),
        (
            "agent.rawDisk=false",
            "additional properties 'rawDisk' not allowed",
        ),
        ("operator.replicas=0", "minimum: got 0, want 1"),
        ("operator.replicas=two", "got string, want integer"),
        ("image.pullPolicy=Sometimes", "value must be one of"),
        ("logging.level=loud", "value must be one of"),
        ("kubeletDir=var/lib/kubelet", "does not match pattern"),
        ("agent.maxUnavailable=0", "/agent/maxUnavailable"),
        ("agent.dataPort=70000", "maximum: got 70,000"),
        (
            "agent.tolerations[0].efect=NoExecute",
            "additional properties 'efect' not allowed",
        ),
        (
            "operator.resources.request.cpu=1",
            "additional properties 'request' not allowed",
        ),
        ("volumeSnapshotClass.create=auto", "value must be one of"),
        ("storageClass.pool=", "minLength"),
    ] {
        match rendered(&[&format!("--set={setting}")]) {
            Ok(_) => panic!("{setting} was taken"),
            Err(said) => assert!(said.contains(refusal), "{setting}: {said}"),
        }
    }
}

#[test]
fn only_the_versions_that_are_tried_are_accepted() {
    for version in ["1.34.0", "1.35.9", "1.36.0-gke.100", "1.37.2"] {
        rendered_for(version, &[]).unwrap();
    }
    for version in ["1.33.9", "1.38.0"] {
        let refused = rendered_for(version, &[]).unwrap_err();
        assert!(
            refused.contains("incompatible with Kubernetes"),
            "{version}: {refused}"
        );
    }
}

#[test]
fn values_for_all_charts_are_let_through() {
    rendered(&["--set=global.region=north"]).unwrap();
}
