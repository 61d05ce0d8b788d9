"""The script that runs an executor, in its image or here: bash, as the contract's own start is, and tar, tee, sleep."""

SCRIPT = r"""
# staged tar, result tar, file for the exit code, command that starts the executor
root=${YMIR_ROOT:-}
config=$root/in/config.yaml
log=$root/out/ymir-executor-out.log

fail() {
  printf '%s\n' "$1" >&2
  exit 1
}

# what the image's own template says and the run does not
complete_config() {
  local template=$root/img-man/training-template.yaml known=$'\n' keep='' line key
  local name='^["'\'']?([A-Za-z_][A-Za-z0-9_.-]*)["'\'']?[[:space:]]*:'
  [ -r "$template" ] || return 0
  while IFS= read -r line; do
    if [[ $line =~ $name ]]; then known+=${BASH_REMATCH[1]}$'\n'; fi
  done < "$config"
  while IFS= read -r line || [ -n "$line" ]; do
    line=${line%$'\r'}
    if [[ $line =~ $name ]]; then
      key=${BASH_REMATCH[1]} keep=yes
      if [[ $known == *$'\n'"$key"$'\n'* ]]; then keep=''; fi
      if [ "$key" = export_format ]; then format_wanted=$line; fi
    elif [[ $line == ---* || $line == ...* || $line == %* ]]; then
      keep=''
    fi
    if [ -n "$keep" ]; then printf '%s\n' "$line"; fi
  done < "$template" >> "$config"
}

tar -xf "$1" -C "${root:-/}" || fail "The data for the executor cannot be unpacked to $root/in and $root/out:\
 its image must run as a user who may write there, with room for the data."
format_wanted=''
complete_config
wanted=${format_wanted#*:} wanted=${wanted//[\"\' ]/} wanted=${wanted%%#*}
if [ -n "$wanted" ] && [[ $(< "$config") != *"export_format: $wanted"* ]]; then
  printf '%s\n' "The image's template has export_format $wanted, the data is staged in another: see export_format." >&2
fi
printf '%s\n' "$(< "$config")" > "$root/out/executor-config.yaml"
if [ -n "$root" ]; then export YMIR_IN=$root/in YMIR_OUT=$root/out; fi

# a pipe for the log, so that its end can be waited for and the executor told to end
exec 3> >(exec tee -a "$log")
writer=$!
bash -c "${4:-bash /usr/bin/start.sh}" < /dev/null >&3 2>&1 3>&- &
executor=$!
trap 'kill -TERM "$executor" 2> /dev/null' TERM INT
wait "$executor"
code=$?
while kill -0 "$executor" 2> /dev/null; do
  wait "$executor"
  code=$?
done
exec 3>&-
for _ in 1 2 3 4 5; do
  kill -0 "$writer" 2> /dev/null || break
  sleep 0.2
done
printf '%s' "$code" > "$3"

cd "$root/out" || fail "The executor removed $root/out: there is nothing to keep."
members=()
for name in models tensorboard monitor.txt ymir-executor-out.log executor-config.yaml; do
  if [ -e "$name" ]; then members+=("$name"); fi
done
tar -chf "$2" "${members[@]}" || tar -tf "$2" > /dev/null || fail "What the executor left cannot be packed:\
 look whether the disk is full."
printf 'The executor ended with exit code %s.\n' "$code"
"""
