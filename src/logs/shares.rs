//! How the daemon-wide spool is shared: what is held counts first, from the smallest up, so that
//! the greediest gives way; what is left over is shared out evenly.

/// A container that holds files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demand {
    /// Bytes in its spool now.
    pub(super) used: u64,
    /// Its own bound (`max-spool-size`).
    pub(super) bound: u64,
}

/// A share for each demand; together at most `total`, each at most its bound.
pub(super) fn share(total: u64, demands: &[Demand]) -> Vec<u64> {
    let mut shares = vec![0; demands.len()];
    // First what is there already, then room for more.
    let left = fill(total, &mut shares, |i| {
        demands[i].used.min(demands[i].bound)
    });
    fill(left, &mut shares, |i| demands[i].bound);
    shares
}

/// Raises all shares evenly towards their targets, the nearest first; gives what is left of
/// `total`.
fn fill(mut total: u64, shares: &mut [u64], target: impl Fn(usize) -> u64) -> u64 {
    let mut open: Vec<usize> = (0..shares.len()).collect();
    open.sort_by_key(|i| target(*i).saturating_sub(shares[*i]));
    let mut count = open.len() as u64;
    for i in open {
        let even = total / count;
        let more = target(i).saturating_sub(shares[i]).min(even);
        shares[i] += more;
        total -= more;
        count -= 1;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(total: u64, demands: &[(u64, u64)]) -> Vec<u64> {
        let demands: Vec<Demand> = demands
            .iter()
            .map(|(used, bound)| Demand {
                used: *used,
                bound: *bound,
            })
            .collect();
        share(total, &demands)
    }

    #[test]
    fn the_greediest_gives_way() {
        assert_eq!(of(100, &[]), [0; 0]);
        assert_eq!(of(100, &[(0, 30)]), [30]);
        assert_eq!(of(100, &[(0, 500)]), [100]);
        // All fits: the rest is shared evenly.
        assert_eq!(of(100, &[(10, 500), (50, 500)]), [30, 70]);
        // It does not fit: only the large one is cut.
        assert_eq!(of(100, &[(10, 500), (200, 500)]), [10, 90]);
        assert_eq!(of(100, &[(10, 500), (200, 500), (300, 500)]), [10, 45, 45]);
        assert_eq!(of(0, &[(10, 500)]), [0]);
    }

    proptest! {
        #[test]
        fn bounded_and_fair(total in 0u64..10_000, demands in prop::collection::vec((0u64..5000, 0u64..5000), 0..20)) {
            let shares = of(total, &demands);
            prop_assert!(shares.iter().sum::<u64>() <= total);
            for (i, (used, bound)) in demands.iter().enumerate() {
                prop_assert!(shares[i] <= *bound);
                // Who is cut below what it holds has no less than any other that is cut.
                if shares[i] < *used.min(bound) {
                    for (j, (used, bound)) in demands.iter().enumerate() {
                        if shares[j] < *used.min(bound) {
                            prop_assert!(shares[i].abs_diff(shares[j]) <= demands.len() as u64);
                        } else {
                            prop_assert!(shares[j] <= shares[i] + demands.len() as u64);
                        }
                    }
                }
            }
        }
    }
}
