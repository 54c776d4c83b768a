# Hands a request of the driver to a program for Python: what the agent of Systems Manager runs, as SYSTEM. The driver puts the request in
# the place of the two empty texts below.
#
# Exit codes: those of the program; 1 where there is no Python yet, which the first boot of the machine installs.
[CmdletBinding()]
param(
    # The program's text, in base64.
    [string] $Text = '',
    # Its words, with one blank between; each has letters, digits and plain signs, and may be empty.
    [string] $Words = ''
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

$python = Join-Path -Path $env:ProgramFiles -ChildPath 'hg-automation\python\python.exe'
if (-not (Test-Path -LiteralPath $python)) { throw 'the first boot of this machine has not installed Python yet' }
$program = 'import sys,base64;text=base64.b64decode(sys.stdin.readline()).decode();words=sys.stdin.readline().strip(chr(10)+chr(13)).split(chr(32));exec(text)'
# A line on standard error is no failure of the program.
$ErrorActionPreference = 'Continue'
$Text, $Words | & $python -I -S -X utf8 -c $program
exit $LASTEXITCODE
