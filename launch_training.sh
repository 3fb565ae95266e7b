#!/usr/bin/env bash
# From nothing to characters that a model drew from English words. Each step is skipped when its output is there.
#
#   ./launch_training.sh                      the best that can run here: sd-nano with a GPU and its weights, else tiny
#   ./launch_training.sh sd14                 a preset by name: tiny, sd-nano or sd14
#   ./launch_training.sh tiny --seed 1        flags of training/train_text_to_image.py follow the preset
#   ./launch_training.sh tiny --train_data_dir my_folder --output_dir runs/mine --learning_rate 5e-4   your own pictures
#
# Several GPUs are used by themselves. Of several machines, each runs this with accelerate's own flags:
#   --num_processes 16 --num_machines 2 --machine_rank 0 --main_process_ip 10.0.0.1 --main_process_port 29500
set -euo pipefail
cd "$(dirname "$0")"

say() { printf '\n== %s\n' "$*"; }

# --- what is asked for: a preset, flags of the launcher, and the rest, which is the trainer's -------------------------
preset=""
if [[ $# -gt 0 && $1 != -* ]]; then preset=$1; shift; fi
data=data/kanji output="" custom_data=no processes="" launcher=() trainer=()
while [[ $# -gt 0 ]]; do
  flag=${1%%=*} value="" width=1
  if [[ $1 == *=* ]]; then value=${1#*=}; elif [[ $# -gt 1 ]]; then value=$2 width=2; fi
  case ${flag//-/_} in
    __num_processes) processes=$value ;;
    __num_machines | __machine_rank | __main_process_ip | __main_process_port) launcher+=("${flag//-/_}" "$value") ;;
    __train_data_dir) data=$value custom_data=yes ;;
    __output_dir) output=$value ;;
    *) trainer+=("$1"); width=1 ;;
  esac
  shift "$width"
done

# --- 1. environment: .venv with requirements.txt; up to two minutes the first time ------------------------------------
. tests/environment.sh
python=$(project_python) || exit 1

# --- the plan: the preset, named or the best that can run, and how many processes; a wrong flag is said now ------------
plan=$("$python" training/plan_run.py ${preset:+--preset "$preset"} --train_data_dir "$data" ${trainer[@]+"${trainer[@]}"})
read -r chosen devices <<<"$plan"
preset=${preset:-$chosen}
say "preset $preset: ${plan#*$'\n'}"
output=${output:-runs/$preset}
settings=(--preset "$preset" --train_data_dir "$data" --output_dir "$output" ${trainer[@]+"${trainer[@]}"})

# --- 2. dataset: data/kanji, real and composed characters; about two minutes ------------------------------------------
if [[ $custom_data == yes ]]; then
  say "dataset: $data, your own"
else
  say "dataset: $data"
  "$python" dataExtraction/main.py --output "$data"
fi

# --- 3. training: runs/<preset>; stopped, the same command resumes ----------------------------------------------------
say "training: $output (Ctrl-C saves a checkpoint; the same command resumes from it)"
processes=${processes:-$devices}
if [[ $processes -gt 1 || ${#launcher[@]} -gt 0 ]]; then
  # --multi_gpu means several processes, on CPUs too: with less said, accelerate starts only one there.
  start=("$python" training/start_processes.py --multi_gpu --num_processes "$processes" --num_machines 1
    --main_process_port 0 --mixed_precision no --dynamo_backend no ${launcher[@]+"${launcher[@]}"})
else
  start=("$python")  # plain: an accelerate launcher that is killed would leave its one process behind
fi

# Signals go on to the trainer, and the script ends as the trainer does: nothing is left behind. Of several processes each
# gets its own: accelerate's launcher, were it told, would kill them after 30 seconds, in the midst of a large checkpoint.
export TORCHELASTIC_SIGNALS_TO_HANDLE=SIGQUIT
pass_on() {  # signal, process
  local workers=""
  if [[ $command == *start_processes.py* ]]; then
    workers=$(cat /proc/"$2"/task/*/children 2>/dev/null || pgrep -P "$2") || workers=""
    [[ -n $workers ]] || set -- TERM "$2"  # none yet; a job of a script ignores SIGINT
  fi
  kill -"$1" ${workers:-"$2"} 2>/dev/null || true
}
run() {
  local child status stopped="" command="$*"
  "$@" & child=$!
  trap 'stopped=143; pass_on TERM "$child"' TERM
  trap 'stopped=130; pass_on INT "$child"' INT
  while true; do
    status=0
    wait "$child" || status=$?
    kill -0 "$child" 2>/dev/null || break  # `wait` also returns for a signal; the child may still be saving
  done
  trap - TERM INT
  if [[ -n $stopped && $status -ne 0 ]]; then status=$stopped; fi  # e.g. Ctrl-C before the workers are there
  return "$status"
}
run "${start[@]}" training/train_text_to_image.py "${settings[@]}"

# --- 4. examples: what the trained model draws for prompts of the first exercise --------------------------------------
if [[ -f $output/examples/collated_examples.png && $output/examples/collated_examples.png -nt $output/finished.json ]]; then
  say "examples: $output/examples is there"
else
  say "examples: $output/examples"
  run "$python" training/generate.py --prompts_file example_outputs/prompts.txt --model "$output" --output "$output/examples"
fi
say "done: $output/pipeline and $output/examples/collated_examples.png"
