#!/usr/bin/env bash
# From nothing to characters that a model drew from English words. Each step is skipped when its output is there.
#
#   ./launch_training.sh                      the best that can run here: sd-nano with a GPU and its weights, else tiny
#   ./launch_training.sh sd14                 a preset by name: tiny, sd-nano or sd14
#   ./launch_training.sh tiny --seed 1        flags of training/train_text_to_image.py follow the preset
#   ./launch_training.sh tiny --train_data_dir my_folder --output_dir runs/mine --learning_rate 5e-4   your own pictures
#   ./launch_training.sh sd14 --dry_run       what would be done, with all settings
#
# A relative path is one of the folder that this is called from. Without flags all lies in the project: data/, runs/.
# Several GPUs are used by themselves. Of several machines, each runs this with accelerate's own flags:
#   --num_processes 16 --num_machines 2 --machine_rank 0 --main_process_ip 10.0.0.1 --main_process_port 29500
# All flags of the trainer: python training/train_text_to_image.py --help
set -euo pipefail
self=$(readlink -f "${BASH_SOURCE[0]}")  # a symlink may lie anywhere
root=${self%/*}
home=$root/
if [[ $PWD -ef $root ]]; then home=""; fi  # what is shown, and what a card may tell, is then as short as it was given

say() { printf '\n== %s\n' "$*"; }
refuse() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

# --- what is asked for: a preset, flags of the launcher, and the rest, which is the trainer's -------------------------
preset=""
if [[ $# -gt 0 && $1 != -* ]]; then preset=$1; shift; fi
data=${home}data/kanji output="" custom_data=no processes="" trainer=()
machines=1 rank="" ip="" port=""
while [[ $# -gt 0 ]]; do
  flag=${1%%=*} value="" width=1
  if [[ $1 == *=* ]]; then value=${1#*=}; elif [[ $# -gt 1 && $2 != --* ]]; then value=$2 width=2; fi
  name=${flag//-/_}
  case $name in
    _h | __help) sed -n '2,/^set /s/^# \{0,1\}//p' "$self"; exit ;;
    __preset | __train_data_dir | __output_dir | __main_process_ip)
      [[ -n $value ]] || refuse "$flag needs a value" ;;
    __num_processes | __num_machines | __machine_rank | __main_process_port)
      [[ $value =~ ^(0|[1-9][0-9]{0,4})$ && $name$value != __num_processes0 &&
        $name$value != __num_machines0 ]] || refuse "$flag needs a number" ;;
  esac
  case $name in
    __preset) preset=$value ;;
    __num_processes) processes=$value ;;
    __num_machines) machines=$value ;;
    __machine_rank) rank=$value ;;
    __main_process_ip) ip=$value ;;
    __main_process_port) port=$value ;;
    __train_data_dir) data=$value custom_data=yes ;;
    __output_dir) output=$value ;;
    *) trainer+=("$1"); width=1 ;;
  esac
  shift "$width"
done
if [[ $machines -gt 1 ]]; then  # where a port that each drew for itself would be no meeting point
  [[ -n $rank && -n $ip ]] || refuse "--num_machines $machines needs --machine_rank and --main_process_ip"
  [[ $rank -lt $machines ]] || refuse "--machine_rank $rank: the machines count from 0 to $((machines - 1))"
  if [[ ${port:-0} == 0 ]]; then port=29500; fi
else
  rank=0
fi

# --- 1. environment: .venv with requirements.txt; up to two minutes the first time ------------------------------------
if [[ ${PYTHON:-} == */* && $PYTHON != /* ]]; then PYTHON=$PWD/$PYTHON; fi
. "$root/tests/environment.sh"
python=$home$(cd "$root" && project_python) || exit 1

# --- the plan: the preset, named or the best that can run, and how many processes; a wrong flag is said now ------------
plan=$("$python" "${home}training/plan_run.py" ${preset:+--preset "$preset"} --train_data_dir "$data" \
  ${trainer[@]+"${trainer[@]}"})
read -r chosen devices mode resolution <<<"$plan"
preset=${preset:-$chosen}
processes=${processes:-$((devices * machines))}
say "preset $preset: ${plan#*$'\n'}"
output=${output:-${home}runs/$preset}
size=128  # px that the characters are drawn at; smaller ones are scaled down from these, larger ones a set of their own
if [[ $custom_data == no && $resolution -gt $size ]]; then size=$resolution data=$data-$size; fi
settings=(--preset "$preset" --train_data_dir "$data" --output_dir "$output" --cache_dir "${home}runs/cache"
  ${trainer[@]+"${trainer[@]}"})
if [[ $mode == dry_run ]]; then
  say "dry run: with the dataset $data, $processes process(es) would train $output with these settings"
  exec "$python" "${home}training/train_text_to_image.py" "${settings[@]}"
fi

# --- how the steps are run: signals go on to them, and the script ends as they do: nothing is left behind -------------
# Of several processes each gets its own signal: accelerate's launcher, were it told, would kill them after 30 seconds,
# in the midst of a large checkpoint.
export TORCHELASTIC_SIGNALS_TO_HANDLE=SIGQUIT
pass_on() {  # signal, process
  local workers=""
  [[ -n $2 ]] || return 0
  if [[ $command == *start_processes.py* ]]; then
    workers=$(cat /proc/"$2"/task/*/children 2>/dev/null || pgrep -P "$2") || workers=""
    [[ -n $workers ]] || set -- TERM "$2"  # none yet; a job of a script ignores SIGINT
  fi
  kill -"$1" ${workers:-"$2"} 2>/dev/null || true
}
run() {
  local child="" status stopped="" command="$*"
  trap 'stopped=143; pass_on TERM "$child"' TERM
  trap 'stopped=130; pass_on INT "$child"' INT
  trap 'stopped=129; pass_on HUP "$child"' HUP
  "$@" & child=$!
  if [[ -n $stopped ]]; then kill "$child"; fi  # a signal that came in before there was a child
  while true; do
    status=0
    wait "$child" || status=$?
    kill -0 "$child" 2>/dev/null || break  # `wait` also returns for a signal; the child may still be saving
  done
  trap - TERM INT HUP
  if [[ -n $stopped && $status -ne 0 ]]; then status=$stopped; fi  # e.g. Ctrl-C before the workers are there
  return "$status"
}

# --- 2. dataset: data/kanji, real and composed characters; two minutes; at 512 px data/kanji-512 ----------------------
if [[ $custom_data == yes ]]; then
  say "dataset: $data, your own"
else
  say "dataset: $data"
  if [[ $machines -gt 1 ]]; then one_at_a_time "${home}data"; fi  # a disk may be shared
  run "$python" "${home}dataExtraction/main.py" --size "$size" --output "$data"
  exec 9>&-
fi

# --- 3. training: runs/<preset>; stopped, the same command resumes ----------------------------------------------------
say "training: $output (Ctrl-C saves a checkpoint; the same command resumes from it)"
if [[ $processes -gt 1 || $machines -gt 1 ]]; then
  # --multi_gpu means several processes, on CPUs too: with less said, accelerate starts only one there.
  start=("$python" "${home}training/start_processes.py" --multi_gpu --num_processes "$processes"
    --num_machines "$machines" --machine_rank "$rank" ${ip:+--main_process_ip "$ip"}
    --main_process_port "${port:-0}" --mixed_precision no --dynamo_backend no)
else
  start=("$python")  # plain: an accelerate launcher that is killed would leave its one process behind
fi
run "${start[@]}" "${home}training/train_text_to_image.py" "${settings[@]}"

# --- 4. examples: what the trained model draws for prompts of the first exercise --------------------------------------
if [[ $rank -gt 0 ]]; then
  say "done: the first machine writes the pipeline and draws examples"
  exit
fi
if [[ -f $output/examples/collated_examples.png && $output/examples/collated_examples.png -nt $output/finished.json ]]; then
  say "examples: $output/examples is there"
else
  say "examples: $output/examples"
  run "$python" "${home}training/generate.py" --prompts_file "${home}example_outputs/prompts.txt" --model "$output" \
    --output "$output/examples"
fi
say "done: $output/pipeline and $output/examples/collated_examples.png"
