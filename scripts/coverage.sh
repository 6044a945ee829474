#!/usr/bin/env bash
# How often the errors that `ebm eval chains` and `ebm eval log-z` print hold the truth, over seeds and densities with closed
# forms, and how far quadrature in the plane is off. Prints tables in Markdown; exits 1 if a row is out of its bounds.
#
#     scripts/coverage.sh [SEEDS] [path/to/ebm]       # 20 seeds; builds the program if none is named
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-20}
ebm=${2:-}
if [ -z "$ebm" ]; then
    cargo build -q -p ebm-cli
    ebm=$(realpath "${CARGO_TARGET_DIR:-target}")/debug/ebm
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Programs of a second: threads would wait for each other.
export EBM_LOG=error EBM_THREADS=1 RAYON_NUM_THREADS=1
bad=0

config() { # energy, transition, dimensions
    cat <<END
format = 1
energy = { $1 }
[sampler]
kind = "chain"
steps = 1000
transition = { $2 }
[generate]
shape = [$3]
END
}

# Of lines "name mean error" of one run: how many lie within 1.96 errors of the truth "name=value", of how many.
within() {
    awk -v truths="$1" 'BEGIN { n = split(truths, all, " "); for (i = 1; i <= n; i++) { split(all[i], t, "="); want[t[1]] = t[2] } }
        $1 in want { d = $2 - want[$1]; if (d < 0) d = -d; of++; if (d <= 1.96 * $3) hits++ }
        END { print hits + 0, of + 0 }'
}

row() { # name, hits, of; the least and the most that are taken for 95 %, in per cent
    awk -v name="$1" -v h="$2" -v n="$3" -v low="$4" -v high="$5" 'BEGIN {
        p = 100 * h / n; printf "| %s | %d of %d | %.1f %% |\n", name, h, n, p; exit !(p >= low && p <= high) }'
}

correlated='kind = "gaussian", mean = [1.0, -1.0], covariance = [1.0, 0.6, 0.6, 2.0]'
stiff='kind = "ill-conditioned-gaussian", condition = 10.0'
echo "Monte Carlo errors of 95 % of \`ebm eval chains\`, $seeds seeds, 4 chains of 2000 draws after 500 steps: mean energy and the means of two coordinates"
echo
echo "| kernel | errors that hold the truth | share |"
echo "|---|---|---|"
all=0
of_all=0
while IFS='|' read -r name energy transition dims truths; do
    config "$energy" "$transition" "$dims" > "$folder/chains.toml"
    hits=0
    of=0
    for seed in $(seq "$seeds"); do
        "$ebm" eval chains "$folder/chains.toml" --chains 4 --steps 2000 --warm-up 500 --coordinates 2 --seed "$seed" > "$folder/out"
        read -r h n <<< "$(within "$truths" < "$folder/out")"
        hits=$((hits + h))
        of=$((of + n))
    done
    row "$name" "$hits" "$of" 0 100
    all=$((all + hits))
    of_all=$((of_all + of))
done <<END
hmc, fixed step|$correlated|kind = "hmc", step_size = 0.3, leapfrogs = 5|2|energy=1 x[0]=1 x[1]=-1
hmc, adapted from 0.01|$correlated|kind = "hmc", step_size = 0.01, leapfrogs = 5, target_acceptance = 0.8|2|energy=1 x[0]=1 x[1]=-1
hmc, a step for each chain|$correlated|kind = "hmc", step_size = 0.1, leapfrogs = 5, target_acceptance = 0.8, per_chain = true, adapt_rate = 1.0|2|energy=1 x[0]=1 x[1]=-1
mala, adapted|$correlated|kind = "mala", step_size = 0.1, target_acceptance = 0.65|2|energy=1 x[0]=1 x[1]=-1
mala, a step for each chain|$correlated|kind = "mala", step_size = 0.5, target_acceptance = 0.65, per_chain = true, adapt_rate = 1.0|2|energy=1 x[0]=1 x[1]=-1
hmc, five dimensions, condition 10|$stiff|kind = "hmc", step_size = 0.1, leapfrogs = 8, jitter = 0.2, target_acceptance = 0.8|5|energy=2.5 x[0]=0 x[4]=0 x[2]=0
END
row "all" "$all" "$of_all" 90 99 || bad=1
echo

echo "95 % intervals of \`ebm eval log-z\`, $seeds seeds, 200 rungs, 64 chains each way"
echo
echo "| density | intervals that hold log Z | share |"
echo "|---|---|---|"
all=0
of_all=0
# log Z of a normal density: d/2 log 2πT + ½ log det.
while IFS='|' read -r name energy dims temperature truth; do
    config "$energy" 'kind = "hmc", step_size = 0.3, leapfrogs = 5' "$dims" > "$folder/log-z.toml"
    hits=0
    for seed in $(seq "$seeds"); do
        "$ebm" eval log-z "$folder/log-z.toml" --base 'kind = "gaussian", sd = 3.0' --rungs 200 --temperature "$temperature" --seed "$seed" > "$folder/out"
        h=$(awk -v t="$truth" '/^log Z, / { gsub(/[][,]/, " "); if ($7 <= t && t <= $8) hits++ } END { print hits + 0 }' "$folder/out")
        hits=$((hits + h))
    done
    row "$name" "$hits" $((2 * seeds)) 0 100
    all=$((all + hits))
    of_all=$((of_all + 2 * seeds))
done <<END
correlated normal|$correlated|2|1|2.085225
the same at T = 2|$correlated|2|2|2.778372
normal of deviation 1.5|kind = "gaussian", sd = 1.5|2|1|2.648807
five dimensions, deviation 0.5|kind = "gaussian", sd = 0.5|5|1|1.128957
END
row "all" "$all" "$of_all" 90 99.9 || bad=1
echo

echo "log Z by quadrature against closed forms (promised: within 1e-3)"
echo
echo "| density | found | truth | off by |"
echo "|---|---|---|---|"
while IFS='|' read -r name energy temperature truth; do
    config "$energy" 'kind = "hmc", step_size = 0.3, leapfrogs = 5' 2 > "$folder/plane.toml"
    "$ebm" eval log-z "$folder/plane.toml" --base 'kind = "gaussian", sd = 3.0' --rungs 5 --temperature "$temperature" > "$folder/out"
    awk -v name="$name" -v t="$truth" '/^log Z by quadrature/ { d = $5 - t; if (d < 0) d = -d; printf "| %s | %.4f | %.4f | %.1e |\n", name, $5, t, d; seen = 1; if (d > 0.0011) off = 1 }
        END { exit !seen || off }' "$folder/out" || bad=1
done <<END
correlated normal|$correlated|1|2.085225
the same at T = 4|$correlated|4|3.471520
normal of deviation 3|kind = "gaussian", sd = 3.0|1|4.035102
deviation 0.05 around (20, 20)|kind = "gaussian", mean = [20.0, 20.0], sd = 0.05|1|-4.153587
rings|kind = "rings", radii = [0.5, 1.0, 1.5, 2.0], sd = 0.08|1|1.837877
two normals|kind = "gaussian-mixture", components = [{ mean = [-1.0, 0.0], sd = 0.3 }, { mean = [1.5, 0.5], sd = 0.5, weight = 2.0 }]|1|1.837877
END
exit $bad
