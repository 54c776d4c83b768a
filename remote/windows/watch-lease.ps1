# Ends the machine when its lease is over: its dead-man switch. `first-boot.ps1` makes a task of it that runs as SYSTEM.
#
# The last lease that could be read is kept beside the lease as `last-lease`. A time that cannot be read gives no time. In an image this
# lies with the lease of the machine that the image was made of: on another computer it waits to be replaced.
#
# Exit codes: 0 this is another computer, or the machine is told to shut down; 1 it cannot look. The task starts it again every minute.
[CmdletBinding()]
param(
    # The folder with the file `lease`, which the driver renews and this reads; `armed` appears there at the start.
    [Parameter(Mandatory = $true)] [string] $Folder,
    # When the machine ends in any case, seconds since 1970.
    [Parameter(Mandatory = $true)] [long] $Expires,
    # The identity of the hardware that the lease is of.
    [Parameter(Mandatory = $true)] [string] $Computer
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

# The lease in a file; 0 where there is none that can be read.
function Read-Lease([string] $Path) {
    try {
        $text = [IO.File]::ReadAllText($Path).Trim()
    } catch {
        return [long] 0
    }
    if ($text -match '^[0-9]{1,11}$') { return [long] $text }
    return [long] 0
}

if ((Get-CimInstance -ClassName 'Win32_ComputerSystemProduct').UUID -ne $Computer) { exit 0 }
$file = Join-Path -Path $Folder -ChildPath 'lease'
$kept = Join-Path -Path $Folder -ChildPath 'last-lease'
[IO.File]::WriteAllText((Join-Path -Path $Folder -ChildPath 'armed'), "`n")
while ($true) {
    $lease = Read-Lease $file
    if ($lease -eq 0) { $lease = Read-Lease $kept }
    $now = [DateTimeOffset]::UtcNow.ToUnixTimeSeconds()
    if ($now -ge $lease -or $now -ge $Expires) { break }
    [IO.File]::WriteAllText($kept, "$lease`n")
    Start-Sleep -Seconds 5
}
while ($true) {
    & 'shutdown.exe' /s /f /t 0
    # Somebody may have called it off.
    Start-Sleep -Seconds 10
    if ([Environment]::HasShutdownStarted) { break }
}
exit 0
