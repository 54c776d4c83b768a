# Runs at every boot of an instance, as SYSTEM: arms the dead-man switch, then brings what its driver speaks to: an SSH server with
# the keys that were handed over, and a Python. The driver sends this file as user data, which EC2Launch runs; behind its last line
# come lines `#= KEY VALUE`, which are comments to PowerShell and are read from the instance's metadata:
#
#   watcher BASE64            `watch-lease.ps1`, which ends the machine
#   machine NAME              the machine's id
#   user NAME                 the login user, who is an administrator
#   authorized-key BASE64     the public key that logs in, one line in OpenSSH form
#   host-key BASE64           the private host key, a file in OpenSSH form; without both, the machine is not reached by SSH
#   lease EPOCH               when the machine ends without a sign of its driver
#   expires EPOCH             when it ends in any case
#
# The keys are taken once for a machine: by the second boot its host key was replaced by one of its own, and the handed-over one, which
# user data still shows, must not come back. What an image brings of the machine that it was made of is replaced; machines are told
# apart by the identity of their hardware. There is no password, and neither remote desktop nor WinRM.
#
# Exit codes: 0 done, and the file `ready` says so; 1 something failed: the log and the console say what, and the machine ends when its
# lease is over. A machine that could not be armed is shut down at once.
[CmdletBinding()]
param(
    # Where the instance's metadata is.
    [string] $Metadata = 'http://169.254.169.254/latest',
    # The folder of this machine's state.
    [string] $State = (Join-Path -Path $env:ProgramData -ChildPath 'hg-automation'),
    # The folder of the SSH server's configuration.
    [string] $Ssh = (Join-Path -Path $env:ProgramData -ChildPath 'ssh'),
    # The Python that runs the driver's programs, installed where it is missing.
    [string] $Python = (Join-Path -Path $env:ProgramFiles -ChildPath 'hg-automation\python'),
    [string] $PythonUrl = 'https://www.python.org/ftp/python/3.13.9/python-3.13.9-amd64.exe',
    [string] $PythonHash = '200ddff856bbff949d2cc1be42e8807c07538abd6b6966d5113a094cf628c5c5'
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

# Writes a line to the log and to the console of the instance, which EC2Launch may hold at times.
function Write-Note([string] $Text) {
    $line = 'first-boot: ' + $Text
    Write-Host $line
    try {
        Add-Content -LiteralPath (Join-Path -Path $env:ProgramData -ChildPath 'hg-first-boot.log') -Value $line
        $port = New-Object -TypeName System.IO.Ports.SerialPort -ArgumentList 'COM1'
        $port.Open()
        $port.WriteLine($line)
        $port.Close()
    } catch {
        Write-Host 'first-boot: the console is not to be had'
    }
}

# Runs a program; another code than 0 is an error. In this version of PowerShell a line on standard error would be one too.
function Invoke-Program([string] $Program, [string[]] $Words) {
    $ErrorActionPreference = 'Continue'
    $said = & $Program @Words 2>&1 | Out-String
    $code = $LASTEXITCODE
    if ($code -ne 0) { throw ('{0} ended with {1}: {2}' -f $Program, $code, $said.Trim()) }
}

# Lets only SYSTEM and administrators at a file or a folder, by their numbers: names differ between languages.
function Protect-Path([string] $Path, [string] $Inherited) {
    $rights = $Inherited + 'F'
    Invoke-Program 'icacls.exe' @($Path, '/inheritance:r', '/grant:r', "*S-1-5-18:$rights", '/grant:r', "*S-1-5-32-544:$rights")
    Invoke-Program 'icacls.exe' @($Path, '/setowner', '*S-1-5-32-544')
}

# Writes a file that nobody else could read at any moment.
function Write-Secret([string] $Path, [byte[]] $Bytes) {
    [IO.File]::WriteAllBytes($Path, [byte[]] @())
    Protect-Path $Path ''
    [IO.File]::WriteAllBytes($Path, $Bytes)
}

# The values behind the last line of this file.
function Read-Told {
    $asked = @{ 'X-aws-ec2-metadata-token-ttl-seconds' = '300' }
    $token = Invoke-RestMethod -Method Put -Uri "$Metadata/api/token" -Headers $asked -TimeoutSec 10
    $shown = @{ 'X-aws-ec2-metadata-token' = $token }
    $text = (Invoke-WebRequest -UseBasicParsing -Uri "$Metadata/user-data" -Headers $shown -TimeoutSec 10).Content
    if ($text -is [byte[]]) { $text = [Text.Encoding]::UTF8.GetString($text) }
    $told = @{}
    foreach ($line in ($text -split '\r?\n')) {
        if ($line -match '^#= ([a-z-]+) (\S+)$') { $told[$Matches[1]] = $Matches[2] }
    }
    if ($told.Count -eq 0) { throw 'the user data holds no values' }
    return $told
}

# A number of seconds since 1970, or what counts where the text is none.
function Get-Epoch([string] $Text, [long] $Otherwise) {
    if ($Text -match '^[0-9]{1,11}$') { return [long] $Text }
    return $Otherwise
}

# Starts the dead-man switch: a task as SYSTEM that begins at each start, at the end itself and, where it was killed, every minute.
function Start-Watcher([hashtable] $Told, [string] $Computer) {
    $now = [DateTimeOffset]::UtcNow.ToUnixTimeSeconds()
    $expires = Get-Epoch $Told['expires'] ($now + 3600)
    $lease = Get-Epoch $Told['lease'] $expires
    $kept = Join-Path -Path $State -ChildPath 'lease'
    # Not the first boot: the last renewal counts. A boot gives no more time, or a machine that boots again and again would outlive its driver.
    if (Test-Path -LiteralPath $kept) { $lease = Get-Epoch (Get-Content -LiteralPath $kept -TotalCount 1) $lease }
    [IO.File]::WriteAllText($kept, "$lease`n")
    $script = Join-Path -Path $State -ChildPath 'watch-lease.ps1'
    [IO.File]::WriteAllBytes($script, [Convert]::FromBase64String($Told['watcher']))
    $armed = Join-Path -Path $State -ChildPath 'armed'
    if (Test-Path -LiteralPath $armed) { Remove-Item -LiteralPath $armed -Force }
    $words = '-NoProfile -NonInteractive -ExecutionPolicy Bypass -File "{0}" -Folder "{1}" -Expires {2} -Computer "{3}"'
    $action = New-ScheduledTaskAction -Execute 'powershell.exe' -Argument ($words -f $script, $State, $expires, $Computer)
    $end = [DateTimeOffset]::FromUnixTimeSeconds($expires).LocalDateTime
    $often = New-TimeSpan -Minutes 1
    $triggers = @(
        (New-ScheduledTaskTrigger -AtStartup),
        (New-ScheduledTaskTrigger -Once -At $end),
        (New-ScheduledTaskTrigger -Once -At (Get-Date) -RepetitionInterval $often)
    )
    $settings = New-ScheduledTaskSettingsSet -StartWhenAvailable -MultipleInstances IgnoreNew -ExecutionTimeLimit ([TimeSpan]::Zero)
    $system = New-ScheduledTaskPrincipal -UserId 'S-1-5-18' -LogonType ServiceAccount -RunLevel Highest
    $task = New-ScheduledTask -Action $action -Trigger $triggers -Settings $settings -Principal $system
    # The watcher of an earlier boot, or of the machine that the image was made of, has other words.
    Register-ScheduledTask -TaskName 'hg-automation-watch' -InputObject $task -Force | Out-Null
    Stop-ScheduledTask -TaskName 'hg-automation-watch'
    Start-ScheduledTask -TaskName 'hg-automation-watch'
    for ($tries = 0; -not (Test-Path -LiteralPath $armed); $tries++) {
        if ($tries -ge 120) { throw 'the task that ends the machine does not start' }
        Start-Sleep -Milliseconds 500
    }
    Write-Note ('{0} ends at {1} without a sign of its driver, at {2} in any case (seconds since 1970)' -f $Told['machine'], $lease, $expires)
}

# Nobody comes to the machine but by SSH or the agent.
function Stop-OtherWays {
    Set-Service -Name 'WinRM' -StartupType Disabled
    Stop-Service -Name 'WinRM' -Force
    Set-ItemProperty -LiteralPath 'HKLM:\SYSTEM\CurrentControlSet\Control\Terminal Server' -Name 'fDenyTSConnections' -Value 1
}

# Loads a file and refuses another one than is meant, before anything runs it.
function Get-Download([string] $Url, [string] $Hash, [string] $Path) {
    for ($try = 1; $true; $try++) {
        try {
            Invoke-WebRequest -UseBasicParsing -Uri $Url -OutFile $Path -TimeoutSec 300
            break
        } catch {
            if ($try -ge 3) { throw }
            Write-Note ('cannot load {0}, trying again: {1}' -f $Url, $_.Exception.Message)
            Start-Sleep -Seconds 10
        }
    }
    $found = (Get-FileHash -LiteralPath $Path -Algorithm SHA256).Hash
    if ($found -ne $Hash) {
        Remove-Item -LiteralPath $Path -Force
        throw ('{0} has the SHA-256 {1} and not {2}' -f $Url, $found, $Hash)
    }
}

function Install-Python {
    $program = Join-Path -Path $Python -ChildPath 'python.exe'
    if (-not (Test-Path -LiteralPath $program)) {
        Write-Note 'installing Python'
        $file = Join-Path -Path $State -ChildPath 'python-installer.exe'
        Get-Download $PythonUrl $PythonHash $file
        $words = @('/quiet', 'InstallAllUsers=1', ('TargetDir="{0}"' -f $Python), 'PrependPath=1', 'AssociateFiles=0', 'Shortcuts=0',
            'Include_doc=0', 'Include_launcher=0', 'Include_tcltk=0', 'Include_test=0')
        $done = Start-Process -FilePath $file -ArgumentList $words -Wait -PassThru
        # 3010 asks for a restart, which a program that nothing uses yet does not need.
        if (@(0, 3010) -notcontains $done.ExitCode) { throw ('the installer of Python ended with {0}' -f $done.ExitCode) }
        Remove-Item -LiteralPath $file -Force
    }
    Invoke-Program $program @('-I', '-S', '-c', 'import json, subprocess')
}

function Install-Server {
    for ($try = 1; -not (Get-Service -Name 'sshd' -ErrorAction SilentlyContinue); $try++) {
        Write-Note ('installing the SSH server, try {0} of 3' -f $try)
        try {
            Add-WindowsCapability -Online -Name 'OpenSSH.Server~~~~0.0.1.0' | Out-Null
        } catch {
            # The update service is out at times: 0x800f0950, 0x800f0954, 0x80244022.
            Write-Note ('no SSH server: {0}' -f $_.Exception.Message)
        }
        if (Get-Service -Name 'sshd' -ErrorAction SilentlyContinue) { return }
        if ($try -ge 3) { throw 'the SSH server cannot be installed: is the update service of Windows out?' }
        Start-Sleep -Seconds 20
    }
}

# The server is started by this script alone, so that it never answers with a key that nobody handed over.
function Set-Server([hashtable] $Told) {
    Set-Service -Name 'sshd' -StartupType Manual
    Stop-Service -Name 'sshd' -Force
    New-Item -ItemType Directory -Path $Ssh -Force | Out-Null
    Protect-Path $Ssh '(OI)(CI)'
    Write-Secret (Join-Path -Path $Ssh -ChildPath 'hg_host_ed25519_key') ([Convert]::FromBase64String($Told['host-key']))
    Write-Secret (Join-Path -Path $Ssh -ChildPath 'administrators_authorized_keys') ([Convert]::FromBase64String($Told['authorized-key']))
    $lines = @(
        'HostKey __PROGRAMDATA__/ssh/hg_host_ed25519_key',
        'AuthorizedKeysFile __PROGRAMDATA__/ssh/administrators_authorized_keys',
        ('AllowUsers {0}' -f $Told['user'].ToLowerInvariant()),
        'AuthenticationMethods publickey',
        'PasswordAuthentication no',
        'KbdInteractiveAuthentication no',
        'AllowTcpForwarding no',
        'ClientAliveInterval 60',
        'Subsystem sftp sftp-server.exe'
    )
    $text = ($lines -join "`n") + "`n"
    [IO.File]::WriteAllText((Join-Path -Path $Ssh -ChildPath 'sshd_config'), $text)
    if (-not (Test-Path -LiteralPath 'HKLM:\SOFTWARE\OpenSSH')) { New-Item -Path 'HKLM:\SOFTWARE\OpenSSH' -Force | Out-Null }
    $shell = Join-Path -Path $env:SystemRoot -ChildPath 'System32\cmd.exe'
    New-ItemProperty -LiteralPath 'HKLM:\SOFTWARE\OpenSSH' -Name 'DefaultShell' -Value $shell -PropertyType String -Force | Out-Null
    # The rule that comes with the server holds for private networks only on newer systems, and the network of an instance is a public one.
    if (-not (Get-NetFirewallRule -Name 'hg-automation-ssh' -ErrorAction SilentlyContinue)) {
        New-NetFirewallRule -Name 'hg-automation-ssh' -DisplayName 'SSH' -Direction Inbound -Protocol TCP -LocalPort 22 -Action Allow -Profile Any | Out-Null
    }
}

$code = 1
$ready = Join-Path -Path $State -ChildPath 'ready'
$told = @{}
try {
    $why = ''
    for ($try = 1; $told.Count -eq 0 -and $try -le 12; $try++) {
        try { $told = Read-Told } catch { $why = $_.Exception.Message; Start-Sleep -Seconds 5 }
    }
    $computer = (Get-CimInstance -ClassName 'Win32_ComputerSystemProduct').UUID
    $known = Join-Path -Path $State -ChildPath 'computer'
    if (-not (Test-Path -LiteralPath $known) -or (Get-Content -LiteralPath $known -TotalCount 1) -ne $computer) {
        if (Test-Path -LiteralPath $State) { Remove-Item -LiteralPath $State -Recurse -Force }
        New-Item -ItemType Directory -Path $State -Force | Out-Null
        Protect-Path $State '(OI)(CI)'
        [IO.File]::WriteAllText($known, "$computer`n")
    }
    if (Test-Path -LiteralPath $ready) { Remove-Item -LiteralPath $ready -Force }
    if ($told.Count -eq 0) { throw ('cannot read the user data: {0}' -f $why) }
    Start-Watcher $told $computer
} catch {
    Write-Note ('cannot arm this machine, shutting down: {0}' -f $_.Exception.Message)
    & 'shutdown.exe' /s /f /t 0
    exit 1
}
try {
    # EC2Launch starts the agent only when user data has ended.
    Start-Service -Name 'AmazonSSMAgent'
} catch {
    Write-Note ('the agent of Systems Manager does not start: {0}' -f $_.Exception.Message)
}
try {
    Stop-OtherWays
    Install-Python
    if ($told.ContainsKey('host-key') -and $told.ContainsKey('authorized-key')) {
        Install-Server
        $taken = Join-Path -Path $State -ChildPath 'keys'
        if (-not (Test-Path -LiteralPath $taken)) {
            Set-Server $told
            [IO.File]::WriteAllText($taken, "`n")
            Write-Note ('the keys of {0} are in place' -f $told['machine'])
        }
        Start-Service -Name 'sshd'
    }
    [IO.File]::WriteAllText($ready, ('{0}' -f $told['machine']) + "`n")
    Write-Note ('{0} is ready' -f $told['machine'])
    $code = 0
} catch {
    Write-Note ('failed: {0}' -f $_.Exception.Message)
}
exit $code
