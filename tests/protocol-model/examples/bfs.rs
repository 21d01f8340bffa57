use moraine_protocol_model::*;
use stateright::{Checker, Model};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let n = |i: usize| a[i].parse::<u64>().unwrap();
    let bounds = Bounds { blocks: n(1) as usize, cuts: n(2) as u8, maps: n(3) as usize, engines: n(4) as usize, writes: n(5) as u8, plain: true };
    let t = std::time::Instant::now();
    let c = Protocol { rules: Rules::default(), bounds, before: &[Action::Attach, Action::Opens(0,0), Action::Opens(0,1)] }.checker().threads(1).timeout(std::time::Duration::from_secs(25)).spawn_bfs().join();
    println!("{:?}: states {} unique {} depth {} done {} {:?} {:?}", bounds, c.state_count(), c.unique_state_count(), c.max_depth(), c.is_done(), t.elapsed(), c.discoveries().keys());
}
