//! Who gives way at a bound.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::hash::Hash;

/// What may give way.
pub struct Candidate<Share, Since, Who> {
    pub share: Share,
    pub weight: usize,
    pub quiet_since: Since,
    pub who: Who,
}

/// Chooses until `excess` is freed: each time from the share whose total is greatest then, who is quiet for longest there.
/// If nobody of that share can give way now, nobody does: others must not lose their place to who holds most.
pub fn choose<Share: Copy + Eq + Hash, Since: Ord, Who>(
    totals: HashMap<Share, usize>,
    mut candidates: Vec<Candidate<Share, Since, Who>>,
    mut excess: usize,
) -> Vec<Who> {
    candidates.sort_unstable_by(|one, other| one.quiet_since.cmp(&other.quiet_since));
    let mut queues: HashMap<Share, VecDeque<(usize, Who)>> = HashMap::new();
    for Candidate { share, weight, who, .. } in candidates {
        queues.entry(share).or_default().push_back((weight, who));
    }
    let mut shares: Vec<VecDeque<(usize, Who)>> = Vec::new();
    let mut greatest = BinaryHeap::new();
    for (share, total) in totals {
        greatest.push((total, Reverse(shares.len())));
        shares.push(queues.remove(&share).unwrap_or_default());
    }
    let mut chosen = Vec::new();
    while excess > 0
        && let Some((total, Reverse(index))) = greatest.pop()
    {
        let Some((weight, who)) = shares[index].pop_front() else { break };
        chosen.push(who);
        excess = excess.saturating_sub(weight);
        greatest.push((total.saturating_sub(weight), Reverse(index)));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(shares: &[(&'static str, &[usize])], excess: usize) -> Vec<String> {
        let totals = shares.iter().map(|(share, weights)| (*share, weights.iter().sum())).collect();
        let each =
            shares.iter().flat_map(|(share, weights)| weights.iter().enumerate().map(move |each| (*share, each)));
        let candidates = each.map(|(share, (age, weight))| Candidate {
            share,
            weight: *weight,
            quiet_since: age,
            who: format!("{share}{age}"),
        });
        choose(totals, candidates.collect(), excess)
    }

    #[test]
    fn the_greatest_share_gives_way_until_it_is_no_greater() {
        assert_eq!(chosen(&[("a", &[1; 5]), ("b", &[1; 2])], 3), ["a0", "a1", "a2"]);
        assert_eq!(chosen(&[("a", &[1; 3]), ("b", &[9])], 5), ["b0"]);
        assert_eq!(chosen(&[("a", &[1; 2])], 9), ["a0", "a1"], "when nobody is left, that is all");
        assert!(chosen(&[("a", &[1; 2])], 0).is_empty());
        // The greatest has only what is executed now.
        let (totals, other) =
            (HashMap::from([("a", 9), ("b", 1)]), Candidate { share: "b", weight: 1, quiet_since: 0, who: "b0" });
        assert!(choose(totals, vec![other], 1).is_empty());
        // Down to equal shares, then in turn.
        let mut both = chosen(&[("a", &[1; 4]), ("b", &[1; 3])], 3);
        both[1..].sort();
        assert_eq!(both, ["a0", "a1", "b0"]);
    }
}
