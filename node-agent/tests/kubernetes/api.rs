//! As much of an API server as an agent needs: lists and watches of a few kinds, and applies that are taken without
//! question. What it is not: a judge of what is written; schemas and permissions are tested on a real one.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch};
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

/// What the server holds.
#[derive(Default)]
struct Held {
    version: u64,
    /// Objects by plural and name.
    objects: BTreeMap<(String, String), Value>,
    /// All that was applied, in order: the path below the group, and the object.
    written: Vec<(String, Value)>,
}

/// The server.
#[derive(Clone)]
pub(crate) struct Server {
    held: Arc<Mutex<Held>>,
    /// Kind's plural and event, for who watches.
    events: broadcast::Sender<(String, Value)>,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            held: Arc::default(),
            events: broadcast::channel(1024).0,
            port: listener.local_addr().unwrap().port(),
        };
        let ours = "/apis/moraine.io/v1alpha1";
        let leases = "/apis/coordination.k8s.io/v1/namespaces/ns/leases/{name}";
        let routes = Router::new()
            .route("/api/v1/nodes/{name}", get(node))
            .route(leases, patch(apply_lease))
            .route(&format!("{ours}/{{plural}}"), get(list))
            .route(&format!("{ours}/storagenodes/{{name}}"), patch(apply))
            .route(
                &format!("{ours}/storagenodes/{{name}}/status"),
                patch(apply_status),
            )
            .with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        server
    }

    /// Puts an object in its place, for all who watch.
    pub(crate) fn put(&self, plural: &str, mut object: Value) -> Value {
        let mut held = self.held.lock().unwrap();
        held.version += 1;
        object["metadata"]["resourceVersion"] = held.version.to_string().into();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let key = (plural.to_owned(), name);
        let kind = if held.objects.insert(key, object.clone()).is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        let event = json!({"type": kind, "object": object});
        // Nobody may be watching.
        let _ = self.events.send((plural.to_owned(), event));
        object
    }

    pub(crate) fn object(&self, plural: &str, name: &str) -> Option<Value> {
        let held = self.held.lock().unwrap();
        let key = (plural.to_owned(), name.to_owned());
        held.objects.get(&key).cloned()
    }

    /// All that was applied to this path, in order.
    pub(crate) fn written(&self, path: &str) -> Vec<Value> {
        let held = self.held.lock().unwrap();
        let written = held.written.iter();
        let here = written.filter(|(at, _)| at == path);
        here.map(|(_, object)| object.clone()).collect()
    }

    fn note(&self, path: String, body: &Bytes) -> Value {
        let object: Value = serde_json::from_slice(body).unwrap();
        self.held
            .lock()
            .unwrap()
            .written
            .push((path, object.clone()));
        object
    }
}

fn answer(object: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, object.to_string()).into_response()
}

async fn node(State(server): State<Server>, Path(name): Path<String>) -> Response {
    match server.object("nodes", &name) {
        Some(node) => answer(&node),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn list(
    State(server): State<Server>,
    Path(plural): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query: BTreeMap<&str, &str> = pairs.collect();
    if query.get("watch") != Some(&"true") {
        let held = server.held.lock().unwrap();
        let objects = held.objects.iter();
        let items: Vec<&Value> = objects
            .filter(|((of, _), _)| *of == plural)
            .map(|(_, object)| object)
            .collect();
        let version = held.version.to_string();
        return answer(&json!({
            "apiVersion": "moraine.io/v1alpha1",
            "kind": "List",
            "metadata": {"resourceVersion": version},
            "items": items,
        }));
    }
    let since: u64 = query["resourceVersion"].parse().unwrap();
    // Subscribed to before it is looked what was missed, so that nothing falls in between.
    let events = server.events.subscribe();
    let missed: Vec<Value> = {
        let held = server.held.lock().unwrap();
        let objects = held.objects.iter();
        let newer = objects.filter(|((of, _), object)| *of == plural && version(object) > since);
        newer
            .map(|(_, object)| json!({"type": "MODIFIED", "object": object}))
            .collect()
    };
    let later = futures::stream::unfold(events, |mut events| async {
        let event = events.recv().await.ok()?;
        Some((event, events))
    });
    let later = later.filter_map(move |(of, event)| {
        let wanted = (of == plural).then_some(event);
        async move { wanted }
    });
    let lines = futures::stream::iter(missed).chain(later);
    let lines = lines.map(|event| Ok::<_, Infallible>(format!("{event}\n")));
    Body::from_stream(lines).into_response()
}

fn version(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str();
    text.unwrap().parse().unwrap()
}

async fn apply(State(server): State<Server>, Path(name): Path<String>, body: Bytes) -> Response {
    let mut object = server.note("storagenodes".to_owned(), &body);
    if let Some(held) = server.object("storagenodes", &name) {
        object["status"] = held["status"].clone();
    }
    answer(&server.put("storagenodes", object))
}

async fn apply_status(
    State(server): State<Server>,
    Path(name): Path<String>,
    body: Bytes,
) -> Response {
    let applied = server.note("storagenodes/status".to_owned(), &body);
    let Some(mut object) = server.object("storagenodes", &name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    object["status"] = applied["status"].clone();
    answer(&server.put("storagenodes", object))
}

async fn apply_lease(
    State(server): State<Server>,
    Path(name): Path<String>,
    body: Bytes,
) -> Response {
    answer(&server.note(format!("leases/{name}"), &body))
}
