# Changes one authorized_keys file. Text on standard input: an answer mark, what to do (read or edit), how many seconds to
# hold, the largest file, the owner or -, the path or -; then what remote.rs says. POSIX sh, no tool that busybox lacks.
# This text itself is in `s`.
set -f
umask 077
IFS=' 	'
LC_ALL=C
PATH=$PATH:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
export LC_ALL PATH
newline='
'
if [ "${keyferry_stepped_down:-}" != yes ]; then
    read -r mark && read -r work && read -r seconds && read -r largest && read -r owner && IFS= read -r path || exit 1
fi
asked_path=$path
# Some programs refuse to run in a folder that their user may not look into.
cd /

say() { printf '%s %s\n' "$mark" "$*"; }
# What is temporary is cleared away before the last word, after which the connection may break.
finish() { :; }
refuse() {
    finish
    say refused "$@"
    exit 1
}
done_with() {
    finish
    say "$@"
    exit 0
}
# Runs a command; the first line of what it complains of is the reason.
try() { reason=$("$@" 2>&1) || refuse write "${reason%%"$newline"*}"; }

# Whose file it is.
uid=$(id -u)
user=
if [ "$owner" != - ]; then user=$owner; elif [ "$uid" = 0 ]; then user=${SUDO_USER:-}; fi
if [ -n "$user" ]; then
    case $user in *[!A-Za-z0-9_.@+-]* | -*) refuse user "$user" ;; esac
    eval "home=~$user"
    owner_uid=$(id -u "$user" 2>/dev/null) || refuse user "$user"
else
    user=$(id -un 2>/dev/null) || user=$uid
    home=$HOME
    owner_uid=$uid
fi
[ -d "$home" ] || refuse home "$home"

# Which file.
if [ "$path" = - ]; then
    file=$home/.ssh/authorized_keys
else
    file=
    while :; do
        case $path in *%*) ;; *) break ;; esac
        file=$file${path%%"%"*}
        path=${path#*"%"}
        case $path in
        u*) file=$file$user ;;
        h*) file=$file$home ;;
        %*) file=$file% ;;
        *) refuse path "$path" ;;
        esac
        path=${path#?}
    done
    file=$file$path
    case $file in /*) ;; *) file=$home/$file ;; esac
fi
folder=${file%/*}

# Sets the mode (as ls shows it) and the owner's number of a file.
look() {
    facts=$(ls -ldn "$1" 2>&1) || refuse read "${facts%%"$newline"*}"
    set -- $facts
    mode=$1
    holder=$3
}
others_write() { case $mode in ?????w* | ????????w*) return 0 ;; esac; return 1; }

# Ends this shell, and begins anew as the file's owner.
step_down() {
    command -v su >/dev/null 2>&1 || refuse root "$1"
    keyferry_stepped_down=yes HOME=$home SHELL=/bin/sh path=$asked_path
    export keyferry_stepped_down mark work seconds largest owner path HOME SHELL
    exec su -m "$user" -c "$s"
}
# Goes a path part by part, links too, for as long as all of it is root's and nobody else can put another thing in its place.
# Where it came to is `walked`; where that was not so, `part` is what is not root's.
walk_as_root() {
    rest=$1
    walked=
    links=0
    while :; do
        part=${walked:-/}
        look "$part"
        if [ "$holder" != 0 ]; then return 1; fi
        # Where the sticky bit is set, nobody takes away what is root's.
        if others_write; then case $mode in ?????????[tT]*) ;; *) return 1 ;; esac; fi
        while :; do case $rest in /*) rest=${rest#/} ;; *) break ;; esac; done
        if [ -z "$rest" ]; then return 0; fi
        name=${rest%%/*}
        rest=${rest#"$name"}
        case $name in
        .) continue ;;
        ..)
            walked=${walked%/*}
            continue
            ;;
        esac
        part=$walked/$name
        if [ -L "$part" ]; then
            look "$part"
            links=$((links + 1))
            if [ "$holder" != 0 ] || [ "$links" -gt 20 ]; then return 1; fi
            name=$(readlink "$part") || return 1
            case $name in /*) walked= ;; esac
            rest=$name$rest
        elif [ -e "$part" ]; then
            walked=$part
        else
            case $rest in *[!/]*) if [ "$work" = edit ]; then refuse write "$part: No such file or directory"; fi ;; esac
            walked=$part$rest
            return 0
        fi
    done
}

# Whether folder and file are as they are left alone by everybody else.
if [ -L "$folder" ]; then refuse link "$folder"; fi
# Root works in no folder that another user can change: a link there would take it wherever that user likes.
if [ "$uid" = 0 ] && [ "$owner_uid" != 0 ]; then
    if ! walk_as_root "$folder"; then
        if [ "$holder" = "$owner_uid" ]; then step_down "$part"; fi
        case $file in "$home"/*) step_down "$part" ;; esac
        refuse root "$part"
    fi
    folder=$walked
    file=$folder/${file##*/}
fi
if [ ! -d "$folder" ]; then
    if [ -e "$folder" ]; then refuse kind "$folder"; fi
    if [ "$work" = edit ]; then
        try mkdir "$folder"
        # Then it is a folder of root's for the files of others, and sshd reads them as those.
        if [ "$uid" != "$owner_uid" ]; then try chmod 755 "$folder"; fi
    fi
fi
if [ -d "$folder" ]; then
    look "$folder"
    if [ "$holder" != "$owner_uid" ] && [ "$holder" != 0 ]; then refuse owner "$folder"; fi
    if others_write; then refuse writable "$folder"; fi
fi
check_file() {
    if [ -L "$file" ]; then refuse link "$file"; fi
    there=
    if [ ! -e "$file" ]; then return; fi
    there=yes
    if [ ! -f "$file" ]; then refuse kind "$file"; fi
    look "$file"
    if [ "$holder" != "$owner_uid" ] && { [ "$uid" != 0 ] || [ "$holder" != 0 ]; }; then refuse owner "$file"; fi
    if others_write; then refuse writable "$file"; fi
    if [ ! -r "$file" ]; then refuse read "$file: Permission denied"; fi
    if [ "$(wc -c <"$file")" -gt "$largest" ]; then refuse large "$file"; fi
}
check_file

if [ "$work" = read ]; then
    say file "$file"
    if [ -n "$there" ]; then cat "$file"; fi
    say end $?
    exit 0
fi

# One at a time. All that is temporary lies in the lock, so that there is one thing to clear away. Whoever makes the file
# `holder` in it holds it: node and process, the mark, and the process that watches over a change.
lock=$folder/.keyferry-lock
me="$(uname -n) $$"
mine() {
    { read -r first && read -r second; } 2>/dev/null <"$lock/holder" && [ "$first" = "$me" ] && [ "$second" = "$mark" ]
}
# Somebody may have it in his hands for a moment: see `take_over`.
still_mine() { mine || { sleep 1 && mine; }; }
same() {
    if command -v cmp >/dev/null 2>&1; then
        cmp -s "$1" "$2"
    else
        [ "$(cksum <"$1")" = "$(cksum <"$2")" ]
    fi
}
to_disk() { sync "$@" 2>/dev/null || sync; }
# Whoever renames the old file first decides: to its place, or out of the way once the change is final.
restore() {
    if mine && same "$file" "$lock/wrote" 2>/dev/null && mv -f "$lock/old" "$file" 2>/dev/null; then to_disk "$folder"; fi
}
is_gone() { ! kill -0 "$1" 2>/dev/null && [ ! -d "/proc/$1" ]; }
is_abandoned() {
    judged=$(cat "$lock/holder" 2>/dev/null)
    node= number= watch=
    if [ -n "$judged" ]; then { read -r node number && read -r first && read -r watch; } 2>/dev/null <"$lock/holder"; fi
    if [ -n "$number" ] && [ "$node" = "$(uname -n)" ]; then
        if is_gone "$number" && { [ -z "$watch" ] || is_gone "$watch"; }; then return 0; fi
    fi
    [ -n "$(find "$lock" -prune -mmin +5 2>/dev/null)" ]
}
# Of several who try it at the same time one succeeds.
enter() {
    reason=$(printf '%s\n%s\n' "$me" "$mark" | { set -C && cat >"$lock/holder"; } 2>&1) && mine
}
# In the place of a holder that is gone. Whoever finds that he took away another than the one he judged gives it back, and that
# one finds it again: so what is taken away has a name of its own.
take_over() {
    # One that did not reach the disk before the power failed is empty. One that somebody has in his hands comes back.
    if [ -n "$judged" ] || [ -e "$lock/holder" ]; then
        mv "$lock/holder" "$lock/judged.$$" 2>/dev/null || return 1
        if [ "$(cat "$lock/judged.$$" 2>/dev/null)" != "$judged" ]; then
            mv "$lock/judged.$$" "$lock/holder"
            return 1
        fi
        rm -f "$lock/judged.$$"
    fi
    enter
}
# Where the name could not be written the disk may be full: that is said, once what was made is cleared away.
not_entered() {
    case $reason in *exist* | "") return ;; esac
    if [ -d "$lock" ] && [ ! -s "$lock/holder" ]; then
        "$@"
        refuse write "${reason%%"$newline"*}"
    fi
}
holding=
finish() {
    if [ -n "$holding" ]; then restore; fi
    holding=
    # Unless it was taken for abandoned, and is somebody else's by now.
    if mine; then rm -rf "$lock"; fi
}
trap finish 0
trap 'exit 1' 1 2 13 15
tries=0
vanished=0
locked=
while [ -z "$locked" ]; do
    if mine; then
        locked=yes
        break
    elif reason=$(mkdir "$lock" 2>&1); then
        if enter; then
            locked=yes
            break
        fi
        not_entered rm -rf "$lock"
    elif [ -L "$lock" ]; then
        refuse write "${reason%%"$newline"*}"
    elif [ ! -d "$lock" ]; then
        # It was given back just now, or it cannot be made.
        vanished=$((vanished + 1))
        if [ "$vanished" -gt 5 ]; then refuse write "${reason%%"$newline"*}"; fi
        continue
    elif is_abandoned; then
        if take_over; then
            locked=yes
            break
        fi
        not_entered rm -f "$lock/holder"
    fi
    tries=$((tries + 1))
    if [ "$tries" -gt 20 ]; then refuse busy "$lock"; fi
    sleep 0.5 2>/dev/null || sleep 1
done
# A change that was cut off before it was final is undone.
if [ -f "$lock/old" ] && [ -f "$lock/wrote" ]; then restore; fi
rm -f "$lock/old" "$lock/new" "$lock/wrote" "$lock/kept"

receive() {
    # No dd reads nothing.
    if [ "$length" -eq 0 ]; then
        : >"$lock/new"
    elif dd if=/dev/null of=/dev/null iflag=fullblock 2>/dev/null; then
        dd bs="$length" count=1 iflag=fullblock >"$lock/new"
    else
        dd bs=1 count="$length" >"$lock/new"
    fi
}

check_file
if [ -n "$there" ]; then try cp -p "$file" "$lock/old"; fi
say file "$file"
if [ -n "$there" ]; then cat "$lock/old"; fi
say end $?

order=
length=
read -r order length
case $order in
write | hold) ;;
*) done_with unchanged ;;
esac
still_mine || refuse busy "$lock"

read_only=
if [ -n "$there" ]; then
    try cp -p "$lock/old" "$lock/new"
    look "$lock/new"
    case $mode in
    ??w*) ;;
    *)
        read_only=yes
        try chmod u+w "$lock/new"
        ;;
    esac
fi
try receive
if [ -n "$read_only" ]; then try chmod u-w "$lock/new"; fi
if [ "$(wc -c <"$lock/new")" -ne "$length" ]; then refuse write "the new file did not arrive whole"; fi
if [ -n "$there" ]; then
    chcon --reference="$file" "$lock/new" 2>/dev/null
elif [ "$uid" != "$owner_uid" ]; then
    try chmod 644 "$lock/new"
fi
if [ "$order" = hold ]; then
    try cp -p "$lock/new" "$lock/wrote"
    # Of these the next one makes out what was cut off, should the power fail.
    if [ -n "$there" ]; then to_disk "$lock/old" "$lock/wrote" "$lock/holder" "$lock"; fi
fi
to_disk "$lock/new"
if [ -L "$file" ]; then refuse changed "$file"; fi
if [ -n "$there" ]; then
    same "$file" "$lock/old" || refuse changed "$file"
elif [ -e "$file" ]; then
    refuse changed "$file"
fi

if [ "$order" = hold ]; then
    # Whatever becomes of the connection and of this shell: without a word the old file comes back.
    holding=yes
    (
        trap - 0 2 13 15
        trap '' 1
        left=$seconds
        while [ "$left" -gt 0 ]; do
            sleep 1
            if [ ! -f "$lock/old" ] || ! still_mine; then exit 0; fi
            left=$((left - 1))
        done
        restore
        if mine; then rm -rf "$lock"; fi
    ) </dev/null >/dev/null 2>&1 &
    watch=$!
    note_watch() { echo "$watch" | cat >>"$lock/holder"; }
    try note_watch
fi
still_mine || refuse busy "$lock"
try mv -f "$lock/new" "$file"
to_disk "$folder"
if [ "$order" = write ]; then done_with written; fi
say written

verdict=
read -r verdict
if ! mine; then
    # It was taken for abandoned, or without a word in time all is as it was.
    holding=
    if [ -d "$lock" ]; then done_with changed; fi
    done_with restored
fi
if [ "$verdict" = keep ] && mv "$lock/old" "$lock/kept" 2>/dev/null; then
    holding=
    # The next one would undo what it took for cut off.
    to_disk "$lock"
    done_with kept
fi
restore
holding=
if [ -f "$lock/old" ]; then done_with changed; fi
done_with restored
