#!/bin/sh
# The daemon's ssh: `gate ssh -F CONFIG ... -- HOST COMMAND`. While it is armed each login asks what becomes of it.
folder=${0%/*}
seen= host= command=
for word do
    if [ -n "$host" ]; then
        command=$word
    elif [ -n "$seen" ]; then
        host=$word
    elif [ "$word" = -- ]; then
        seen=yes
    fi
done
if [ ! -e "$folder/armed" ] || [ -z "$command" ]; then exec "$@"; fi
case $command in
*eval*) kind=edit ;;
*) kind=login ;;
esac

# Waits for a word of the test; when it is disarmed meanwhile, for none.
wait_for() {
    word=pass
    until [ -e "$folder/$1.$$" ]; do
        if [ ! -d "$folder" ]; then exit 255; fi
        if [ ! -e "$folder/armed" ] && [ ! -e "$folder/$1.$$" ]; then return; fi
        sleep 0.02
    done
    read -r word <"$folder/$1.$$"
}
tell() { echo "$2" >"$folder/.$1.$$" && mv "$folder/.$1.$$" "$folder/$1.$$"; }

tell knock "$kind $host"
wait_for answer
case $word in
pass) exec "$@" ;;
end) exit 255 ;;
esac
# What the host says is passed on up to a line that ends with this word.
end=$word
"$@" | while IFS= read -r line; do
    case $line in
    *" $end")
        tell reached "$end"
        wait_for verdict
        # All of this process group: the connection breaks.
        if [ "$word" = lose ]; then kill -9 0; fi
        ;;
    esac
    printf '%s\n' "$line"
done
