//! The original's own counter example, made to measure: the routes and the data of our workloads.
//!
//!     original serve FOLDER THREADS       serves on a free port, which it prints as JSON
//!     original fill FOLDER COUNT EXPIRED  stores COUNT sessions, EXPIRED of them past their time

mod fill;

use std::time::{Duration as Wait, Instant};

use axum::{extract::State, routing::get, Router};
use time::Duration;
use tower_sessions::{ExpiredDeletion, Expiry, Session, SessionManagerLayer};
use tower_sessions_sled_store::SledStore;

const COUNTER: &str = "counter";
const PROFILE: &str = "profile";
/// Long enough for a logout to come in between.
const SLOW: Wait = Wait::from_millis(300);

async fn current(session: &Session) -> usize {
    session.get(COUNTER).await.unwrap().unwrap_or_default()
}

async fn read(session: Session) -> String {
    format!("Current count: {}", current(&session).await)
}

async fn counter(session: Session) -> String {
    let count = current(&session).await;
    session.insert(COUNTER, count + 1).await.unwrap();
    format!("Current count: {count}")
}

async fn slow(session: Session) -> String {
    let count = current(&session).await;
    tokio::time::sleep(SLOW).await;
    session.insert(COUNTER, count + 1).await.unwrap();
    format!("Current count: {count}")
}

async fn create(session: Session) -> &'static str {
    session.insert(PROFILE, "x".repeat(400)).await.unwrap();
    "Current count: 0"
}

async fn destroy(session: Session) -> &'static str {
    session.flush().await.unwrap();
    "Current count: 0"
}

/// Answers with the milliseconds that a run of the reaper took.
async fn reap(State(store): State<SledStore>) -> String {
    let begun = Instant::now();
    store.delete_expired().await.unwrap();
    format!("{:.3}", begun.elapsed().as_secs_f64() * 1000.0)
}

async fn serve(folder: &str) {
    let begun = Instant::now();
    // The example has ten; the mix fills beforehand, and takes longer than that to come round.
    let seconds = std::env::var("EXPIRY_SECONDS").map_or(10, |text| text.parse().unwrap());
    let store = SledStore::new(sled::open(folder).unwrap().open_tree("session").unwrap());
    let layer = SessionManagerLayer::new(store.clone())
        .with_secure(false)
        .with_expiry(Expiry::OnInactivity(Duration::seconds(seconds)));
    let app = Router::new()
        .route("/counter", get(counter))
        .route("/read", get(read))
        .route("/untouched", get(|| async { "Current count: 0" }))
        .route("/create", get(create))
        .route("/destroy", get(destroy))
        .route("/slow", get(slow))
        .layer(layer)
        .route("/reap", get(reap))
        .with_state(store);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let start_ms = begun.elapsed().as_secs_f64() * 1000.0;
    println!("{}", serde_json::json!({ "port": port, "startMs": start_ms }));
    axum::serve(listener, app).await.unwrap();
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", folder, threads] => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.parse().expect("THREADS is a number"))
            .enable_all()
            .build()
            .unwrap()
            .block_on(serve(folder)),
        ["fill", folder, count, expired] => fill::fill(
            folder,
            count.parse().expect("COUNT is a number"),
            expired.parse().expect("EXPIRED is a number"),
        ),
        _ => {
            eprintln!("usage: original serve FOLDER THREADS | fill FOLDER COUNT EXPIRED");
            std::process::exit(2);
        }
    }
}
