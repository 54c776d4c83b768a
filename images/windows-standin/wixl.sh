#!/bin/sh
# Makes an installer of a folder, for a program of Windows that cannot see how a program of Linux ended. All paths are Windows'.
#
#   wixl.sh APP FOLDER NAME
#
# Reads FOLDER/installer.wxs, whose files lie in APP. Writes FOLDER/NAME; what `wixl` said to FOLDER/output; its exit code, last, to
# FOLDER/status.
set -u
PATH=/usr/bin:/bin
app=/srv/windows/drive_c/${1#?:/} folder=/srv/windows/drive_c/${2#?:/}

cd "$app" && wixl --arch x64 -D Win64=yes --output "$folder/$3.new" "$folder/installer.wxs" >"$folder/output" 2>&1
code=$?
if [ "$code" = 0 ]; then
    mv "$folder/$3.new" "$folder/$3"
    code=$?
fi
echo "$code" >"$folder/status.new"
mv "$folder/status.new" "$folder/status"
