use std::collections::HashMap;

use time::OffsetDateTime;
use tower_sessions::{
    session::{Id, Record},
    SessionStore,
};
use tower_sessions_sled_store::SledStore;

/// An odd number, so that ids spread over the tree as random ones do, and a driver can tell each.
const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

/// Stores through the store itself; every `count / expired`-th session is past its time.
pub fn fill(folder: &str, count: u64, expired: u64) {
    let db = sled::open(folder).unwrap();
    let store = SledStore::new(db.open_tree("session").unwrap());
    let data: HashMap<String, serde_json::Value> =
        HashMap::from([("profile".into(), "x".repeat(400).into())]);
    let now = OffsetDateTime::now_utc();
    let every = if expired == 0 { u64::MAX } else { count / expired };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for number in 0..count {
            let past = number % every == every - 1;
            let days = if past { -1 } else { 14 };
            let record = Record {
                id: Id((u128::from(number) + 1).wrapping_mul(SPREAD) as i128),
                data: data.clone(),
                expiry_date: now + time::Duration::days(days),
            };
            store.save(&record).await.unwrap();
        }
    });
    db.flush().unwrap();
}
