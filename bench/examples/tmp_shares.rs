//! tmp
use chordata_bench::ring::LocalRing;
use chordata_server::settings::PlacementSetting;
#[tokio::main]
async fn main() {
    let ring = LocalRing::start(64, PlacementSetting::Bisect).await.unwrap();
    let view = ring.client().view().await;
    for s in view.members() { println!("{} {:.4} {}", s.me.id.to_hex(), s.share*64.0, s.me.address); }
    for (i,a) in ring.addresses().iter().enumerate() { println!("join {i} {a}"); }
    ring.stop().await;
}
