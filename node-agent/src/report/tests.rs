//! What the agent says of its node, as values: observations in, status out.

use super::*;
use crate::observe::Looked;
use crate::serving::Said;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use moraine_crds::UnusedDevice;

fn me() -> Myself {
    Myself {
        node: "a".to_owned(),
        boot_id: "boot-1".to_owned(),
        started_at: to_time(100),
        address: "10.0.0.1:7420".to_owned(),
        looks_at_devices: true,
    }
}

fn to_time(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

fn now(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn device(path: &str, reason: &str) -> UnusedDevice {
    UnusedDevice {
        path: path.to_owned(),
        pool: "fast".to_owned(),
        size_bytes: 1 << 30,
        reason: reason.to_owned(),
        message: "m".to_owned(),
    }
}

/// All is read: the node is in zone z1, two devices were found, and there is no StorageNode.
fn unregistered() -> Known {
    let labels = [
        ("kubernetes.io/hostname", "a"),
        ("topology.kubernetes.io/zone", "z1"),
        ("disk", "nvme"),
    ];
    let mut known = Known {
        labels: Some(
            labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        ),
        found: Some(Looked {
            wanted: Vec::new(),
            devices: vec![
                device("/dev/sdb", "Mounted"),
                device("/dev/sda", "NotServedYet"),
            ],
        }),
        disks: Some(Said::default()),
        ..Known::default()
    };
    known.own.apply(Event::InitDone);
    known
}

fn put(known: &mut Known, object: &Value) {
    let mut object = object.clone();
    object["apiVersion"] = "moraine.io/v1alpha1".into();
    object["kind"] = "StorageNode".into();
    let node: DeserializeGuard<StorageNode> = serde_json::from_value(object).unwrap();
    assert!(node.0.is_ok());
    known.own.apply(Event::Apply(node));
}

/// The same, with the StorageNode that the agent asked for.
fn registered() -> Known {
    let mut known = unregistered();
    let Some(Write::Register(object)) = report(&me(), &known, now(500)) else {
        panic!("it isn't registered");
    };
    put(&mut known, &object);
    known
}

fn status(known: &Known) -> StorageNodeStatus {
    match report(&me(), known, now(500)) {
        Some(Write::Status(status)) => *status,
        other => panic!("a status is due: {other:?}"),
    }
}

fn write(known: &mut Known, status: StorageNodeStatus) {
    let mut own = known.own["a"].clone();
    own.status = Some(status);
    known.own.learn(own);
}

#[test]
fn a_node_is_registered_with_its_topology_and_no_orders() {
    let Some(Write::Register(object)) = report(&me(), &unregistered(), now(500)) else {
        panic!("it isn't registered");
    };
    let labels = json!({"kubernetes.io/hostname": "a", "topology.kubernetes.io/zone": "z1"});
    assert_eq!(
        object,
        json!({"metadata": {"name": "a", "labels": labels}, "spec": {}})
    );
}

#[test]
fn a_node_that_moves_to_another_zone_says_so() {
    let mut known = registered();
    known
        .labels
        .as_mut()
        .unwrap()
        .insert("topology.kubernetes.io/zone".to_owned(), "z2".to_owned());
    let Some(Write::Register(object)) = report(&me(), &known, now(500)) else {
        panic!("the labels are stale");
    };
    assert_eq!(
        object["metadata"]["labels"]["topology.kubernetes.io/zone"],
        "z2"
    );
}

#[test]
fn nothing_is_said_before_all_is_known() {
    let mut known = registered();
    known.found = None;
    assert_eq!(report(&me(), &known, now(500)), None);
    let mut known = registered();
    known.disks = None;
    assert_eq!(
        report(&me(), &known, now(500)),
        None,
        "disks are being opened"
    );
    let mut known = unregistered();
    known.labels = None;
    assert_eq!(report(&me(), &known, now(500)), None);
    let mut known = unregistered();
    known.own = moraine_crds::watch::Cache::default();
    assert_eq!(report(&me(), &known, now(500)), None);
}

#[test]
fn the_status_tells_of_the_agent_and_its_devices() {
    let status = status(&registered());
    assert_eq!(status.boot_id.as_deref(), Some("boot-1"));
    assert_eq!(status.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(status.started_at, Some(to_time(100)));
    assert_eq!(status.addresses, Vec::<String>::new());
    assert_eq!(status.unused_devices.len(), 2);
    assert_eq!(status.summary.unwrap().unused_devices, "2");
    let healthy = find(&status.conditions, DISKS_HEALTHY).unwrap();
    assert_eq!(
        (healthy.status.as_str(), healthy.reason.as_str()),
        ("True", "NoDisks")
    );
    assert!(
        healthy
            .message
            .contains("no disk of this node is taken yet")
    );
    let blind = Myself {
        looks_at_devices: false,
        ..me()
    };
    let Some(Write::Status(status)) = report(&blind, &registered(), now(500)) else {
        panic!("a status is due");
    };
    assert!(
        status.conditions[0]
            .message
            .contains("may not look at devices")
    );
}

#[test]
fn what_is_said_once_is_not_said_again_whatever_others_say() {
    let mut known = registered();
    let mut held = status(&known);
    // As the API server keeps it, with what the operator and the engine add.
    held.unused_devices.reverse();
    let mut ready = held.conditions[0].clone();
    ready.type_ = "Ready".to_owned();
    held.conditions.insert(0, ready);
    held.suspects.push(moraine_crds::Suspect {
        node: "b".to_owned(),
        disk: None,
        since: to_time(400),
        message: "m".to_owned(),
    });
    write(&mut known, held);
    assert_eq!(report(&me(), &known, now(900)), None);
}

#[test]
fn a_change_is_said_and_the_time_of_the_condition_is_kept() {
    let mut known = registered();
    let held = status(&known);
    write(&mut known, held);
    let found = known.found.as_mut().unwrap();
    found.devices[0].reason = "HasFileSystem".to_owned();
    let Some(Write::Status(status)) = report(&me(), &known, now(900)) else {
        panic!("the devices changed");
    };
    assert_eq!(status.unused_devices[0].reason, "HasFileSystem");
    assert_eq!(status.conditions[0].last_transition_time, to_time(500));
    let restarted = Myself {
        started_at: to_time(800),
        ..me()
    };
    assert!(report(&restarted, &known, now(900)).is_some());
}

fn disk(id: u32, health: DiskHealth) -> DiskStatus {
    DiskStatus {
        id: format!("{id:032x}"),
        pool: "fast".to_owned(),
        path: format!("/dev/sd{id}"),
        model: None,
        serial: None,
        shards: 1,
        epoch: 3,
        size_bytes: 10 << 30,
        used_bytes: 1 << 30,
        health,
        message: (health != DiskHealth::Healthy).then(|| "it broke".to_owned()),
        to_copy_bytes: None,
        reports: Vec::new(),
    }
}

fn with_disks(disks: Vec<DiskStatus>) -> Known {
    let mut known = registered();
    known.disks = Some(Said {
        serves: true,
        disks,
    });
    known
}

#[test]
fn disks_that_serve_are_told_with_where_they_are_served() {
    use DiskHealth::{Failed, Failing, Healthy, Missing};
    let told = status(&with_disks(vec![disk(1, Healthy), disk(2, Healthy)]));
    assert_eq!(told.addresses, ["10.0.0.1:7420"]);
    assert_eq!(told.disks.len(), 2);
    let summary = told.summary.unwrap();
    assert_eq!((&*summary.disks, &*summary.capacity), ("2/2", "20.0Gi"));
    assert_eq!(summary.used, "2.0Gi (10%)");
    let healthy = find(&told.conditions, DISKS_HEALTHY).unwrap();
    assert_eq!(
        (healthy.status.as_str(), healthy.reason.as_str()),
        ("True", "AllHealthy")
    );
    for (health, reason, summary) in [
        (Failed, "DiskFailed", "1/2"),
        (Missing, "DiskMissing", "1/2"),
        (Failing, "DiskFailing", "2/2"),
    ] {
        let told = status(&with_disks(vec![disk(1, Healthy), disk(2, health)]));
        let condition = find(&told.conditions, DISKS_HEALTHY).unwrap();
        assert_eq!(
            (condition.status.as_str(), condition.reason.as_str()),
            ("False", reason)
        );
        assert!(condition.message.contains("/dev/sd2): it broke"));
        assert_eq!(told.summary.unwrap().disks, summary);
    }
}

#[test]
fn what_a_disk_uses_is_said_when_it_changed_and_the_order_of_disks_is_no_change() {
    let mut known = with_disks(vec![
        disk(1, DiskHealth::Healthy),
        disk(2, DiskHealth::Healthy),
    ]);
    let mut held = status(&known);
    held.disks.reverse();
    write(&mut known, held);
    assert_eq!(report(&me(), &known, now(900)), None);
    known.disks.as_mut().unwrap().disks[0].used_bytes += 1 << 27;
    assert!(report(&me(), &known, now(900)).is_some());
}
