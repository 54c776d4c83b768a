# Switches the real-time scanning of files on or off, and says what it is then: protection against tampering ignores the request
# without a word, so it is read back. Files below the excluded folder are not scanned either way.
#
# Prints `on` or `off`, and on a second line `excluded` or `scanned` for the folder.
# Exit codes: 0 it was asked for; 1 it could not be.
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [ValidateSet('on', 'off')] [string] $Mode,
    [Parameter(Mandatory = $true)] [string] $Folder
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

try {
    Add-MpPreference -ExclusionPath $Folder
    Set-MpPreference -DisableRealtimeMonitoring ($Mode -eq 'off')
    $now = Get-MpComputerStatus
    if ($now.RealTimeProtectionEnabled) { Write-Output 'on' } else { Write-Output 'off' }
    $paths = @((Get-MpPreference).ExclusionPath)
    if ($paths -contains $Folder) { Write-Output 'excluded' } else { Write-Output 'scanned' }
} catch {
    Write-Output $_.Exception.Message
    exit 1
}
exit 0
