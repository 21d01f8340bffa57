use moraine_protocol_model::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let n = |i: usize| a[i].parse::<u64>().unwrap();
    let bounds = Bounds { blocks: n(1) as usize, cuts: n(2) as u8, maps: n(3) as usize, engines: n(4) as usize, writes: n(5) as u8, plain: false };
    let names: Vec<String> = a[7..].to_vec();
    let all = Rule::ALL;
    for name in names {
        let mut rules = Rules::default();
        let find = |n: &str| *all.iter().find(|r| format!("{r:?}") == n).unwrap();
        for (k, part) in name.split('+').enumerate() {
            if part == "answers" { rules.cut_of_answers = true } else if part != "none" {
                rules = if k == 0 { Rules::without(find(part)) } else { rules.and_without(find(part)) };
            }
        }
        let t = std::time::Instant::now();
        let out = walk(rules, bounds, 0..n(6));
        println!("== {name}: {} steps {:?}", out.steps, t.elapsed());
        if let Some(v) = out.violation { if std::env::var("QUIET").is_ok() { println!("caught by walk {}: {}", v.seed, v.broken) } else { println!("{v}"); } }
    }
}
