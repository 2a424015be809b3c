"""The lab keeps its promises: each is seen through a real ssh client, from outside."""

from tests.hosts.lab import Lab


def test_a_host_is_a_machine_of_its_own_behind_a_real_sshd(lab: Lab, key):
    host = lab.host("alone", key=key)
    seen = lab.ssh(host, "hostname; whoami; sudo -n whoami; ls /home; ps -o comm= -p 1", key=key)
    assert seen.stdout.split() == ["alone", "ubuntu", "root", "ubuntu", "systemd"], seen.stderr


def test_a_reboot_keeps_files_and_loses_processes(lab: Lab, key):
    host = lab.host("rebooted", key=key)
    host.run("echo kept > /var/lib/kept; sleep 1000 > /dev/null 2>&1 &")
    boot = host.read("/proc/sys/kernel/random/boot_id")
    assert "sleep 1000" in host.processes()
    host.reboot()
    assert host.processes() == []
    assert lab.ssh(host, "cat /var/lib/kept", key=key).stdout == "kept\n"
    assert host.read("/proc/sys/kernel/random/boot_id") != boot
