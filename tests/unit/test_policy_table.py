"""What the shipped policy says about command lines, one row each: verdict, rule, line."""

from __future__ import annotations

import pytest

from nightcrew.host.shell import parse
from nightcrew.model.actions import Action
from nightcrew.policy.judge import judge
from nightcrew.policy.load import default_policy, layer

TABLE = r"""
# --- ordinary work -----------------------------------------------------------------------------------------------------
allow shell.readonly            ls -la
allow shell.readonly            cat README.md | grep -n x | head -3
allow dev.tools                 python -m pytest -q tests
allow dev.tools                 python3.11 -c 'print(1)'
allow dev.tools                 pytest -q && mypy src
allow dev.tools                 make test
allow dev.tools                 npm test
allow dev.tools                 npm run build -- --watch=false
allow dev.tools                 FOO=1 BAR=2 python app.py
allow git.local                 git status
allow git.local                 git add -A
allow git.local                 git commit -am 'fix: push --force in the docs'
allow git.local                 git log --oneline -5
allow git.local                 git stash push
allow git.local                 git checkout -- src
allow git.local                 git --no-pager diff HEAD~1
allow git.local                 git -c user.name=a -c user.email=b commit -m x
allow shell.files               rm -rf build dist
allow shell.files               rm -rf ./node_modules/*
allow shell.files               rm -rf *
allow shell.files               rm -rf /tmp/work
allow shell.files               rm -rf "$TMPDIR/x"
allow shell.files               sed -i s/a/b/ src/app.py
allow shell.files               mv a.txt b.txt
allow shell.files               chmod +x run.sh
allow shell.readonly            echo x > out.txt 2>&1
allow shell.readonly            echo done > /dev/null
allow shell.readonly            find . -name '*.py' -exec grep -l x {} +
allow shell.readonly            find . -name __pycache__ -exec rm -rf {} +
allow shell.readonly            ls | xargs -n1 wc -l
allow shell.readonly            for f in *.py; do wc -l "$f"; done
allow shell.readonly            if test -f x; then cat x; else echo no; fi
allow shell.readonly            cd src && ls
allow shell.readonly            source .venv/bin/activate
allow shell.readonly            . ./env.sh
allow dev.tools                 bash script.sh --flag
allow shell.readonly            bash -c 'ls -la'
allow shell.readonly            bash -lc "cd src && ls"
allow shell.readonly            eval "ls -la"
allow shell.readonly            timeout 5 cat x
allow dev.tools                 env A=1 nice -n 5 pytest
allow shell.readonly            command -v curl
allow dev.tools                 uv run pytest -q
allow dev.tools                 poetry run python x.py
allow defaults.commands         ./gradlew-like-tool build
allow defaults.commands         frobnicate --all
allow shell.readonly            grep -rn "DROP TABLE" migrations
allow git.local                 git commit -m "DROP TABLE users in a migration"
allow dev.tools                 sqlite3 app.db 'select * from t'
allow shell.files               rsync -a src/ dst/
allow shell.readonly            echo 'curl x | sh'
allow shell.readonly            echo $(date)
allow shell.files               truncate -s 0 log.txt
allow shell.files               cp .env.example settings.txt
allow shell.readonly            cat .env
allow defaults.commands         x=1
# --- git push ----------------------------------------------------------------------------------------------------------
ask   git.push                  git push
ask   git.push                  git push origin docs
ask   git.push                  git push -u origin feature/main-menu
ask   git.push                  git push --follow-tags
ask   git.push                  git -C sub push
ask   git.push                  git --git-dir=.g --work-tree=. push
ask   git.push                  git lfs push origin x
ask   git.push                  git subtree push --prefix=a origin b
ask   git.push_main             git push origin main
ask   git.push_main             git push origin HEAD:main
ask   git.push_main             git push origin x:refs/heads/master
ask   git.push_main             git push -q origin 'main'
deny  git.force_push            git push --force
deny  git.force_push            git push -f
deny  git.force_push            git push -fu origin x
deny  git.force_push            git push -uf origin x
deny  git.force_push            git push origin x --force
deny  git.force_push            git push --force-with-lease
deny  git.force_push            git push --force-with-lease=x:1 origin x
deny  git.force_push            git push --force-w origin x
deny  git.force_push            git push --mirror
deny  git.force_push            git push --delete origin x
deny  git.force_push            git push -d origin x
deny  git.force_push            git push origin +x
deny  git.force_push            git push origin +HEAD:main
deny  git.force_push            git push origin :x
deny  git.force_push            git -c color.ui=never -C sub push -f
deny  git.force_push            git --no-pager push --force
deny  git.force_push            git --git-dir x push --force
deny  git.force_push            /usr/bin/git push --force
deny  git.force_push            "git" 'push' "--force"
deny  git.force_push            g\it pu\sh --fo\rce
deny  git.force_push            git $'push' $'\x2d\x2dforce'
deny  git.force_push            git p{us,}h --force
deny  git.force_push            {git,push,--force}
deny  git.force_push            git push --{force,x}
deny  git.force_push            git${IFS}push${IFS}--force
deny  git.force_push            bash -c "git push --force"
deny  git.force_push            sh -c 'sh -c "git push --force"'
deny  git.force_push            bash -xec 'git push --force'
deny  git.force_push            bash -o pipefail -c 'git push --force'
deny  git.force_push            bash --norc -c 'git push --force'
deny  git.force_push            bash -c 'git push "$1"' _ --force
deny  git.force_push            bash -c '"$@"' _ git push --force
deny  git.force_push            eval git push --force
deny  git.force_push            eval "git pu""sh --force"
deny  git.force_push            true && git push --force
deny  git.force_push            false || git push --force
deny  git.force_push            ls; git push --force &
deny  git.force_push            (git push --force)
deny  git.force_push            { git push --force; }
deny  git.force_push            ! git push --force
deny  git.force_push            time git push --force
deny  git.force_push            echo $(git push --force)
deny  git.force_push            echo `git push --force`
deny  git.force_push            echo "a $(git push --force) b"
deny  git.force_push            echo ${x:-$(git push --force)}
deny  git.force_push            cat <(git push --force)
deny  git.force_push            x=$(git push --force)
deny  git.force_push            x=(a $(git push --force))
deny  git.force_push            export x=$(git push --force)
deny  git.force_push            echo $(( $(git push --force) + 1 ))
deny  git.force_push            [[ -n $(git push --force) ]]
deny  git.force_push            if git push --force; then :; fi
deny  git.force_push            while git push --force; do :; done
deny  git.force_push            for i in $(git push --force); do :; done
deny  git.force_push            case $(git push --force) in a) ;; esac
deny  git.force_push            case x in x) git push --force;; esac
deny  git.force_push            f() { git push --force; }; f
deny  git.force_push            function f { git push --force; }
deny  git.force_push            coproc git push --force
deny  git.force_push            coproc git push --force | cat
deny  git.force_push            coproc A=1 git push --force
deny  git.force_push            trap 'git push --force' EXIT
deny  git.force_push            alias p='git push --force'
deny  git.force_push            P=git; $P push --force
deny  git.force_push            P="git push --force"; $P
deny  git.force_push            env git push --force
deny  git.force_push            env -i A=1 -u B git push --force
deny  git.force_push            env -S 'git push --force'
deny  git.force_push            /usr/bin/env git push --force
deny  git.force_push            sudo git push --force
deny  git.force_push            sudo -u bob -E git push --force
deny  git.force_push            doas git push --force
deny  git.force_push            nice -n 10 git push --force
deny  git.force_push            nice -10 git push --force
deny  git.force_push            nohup git push --force
deny  git.force_push            timeout -s KILL 5 git push --force
deny  git.force_push            timeout --foreground 5m git push --force
deny  git.force_push            stdbuf -oL git push --force
deny  git.force_push            command git push --force
deny  git.force_push            builtin eval git push --force
deny  git.force_push            exec -a x git push --force
deny  git.force_push            setsid -w git push --force
deny  git.force_push            flock /tmp/l git push --force
deny  git.force_push            flock /tmp/l -c 'git push --force'
deny  git.force_push            strace -f -o out git push --force
deny  git.force_push            watch -n 1 git push --force
deny  git.force_push            busybox sh -c 'git push --force'
deny  git.force_push            uv run git push --force
deny  git.force_push            xargs git push --force
deny  git.force_push            echo --force | xargs git push
deny  git.force_push            echo x | xargs -I{} git push --force {}
deny  git.force_push            echo x | xargs -n 1 -P 4 sh -c 'git push --force'
deny  git.force_push            find . -exec git push --force \;
deny  git.force_push            find . -type f -execdir sh -c 'git push --force' \;
deny  git.force_push            parallel git push --force ::: a b
deny  git.force_push            echo 'git push --force' | sh
deny  git.force_push            printf 'git push --force' | bash
deny  git.force_push            printf 'git push --force\n' | bash
deny  git.force_push            echo -n git push --force | sh
ask   shell.opaque              printf 'git push \x2d\x2dforce\n' | bash
ask   shell.opaque              echo -e 'git push \x2d\x2dforce' | bash
ask   shell.opaque              printf 'git push --%s' force | bash
deny  git.force_push            time -- git push --force
deny  git.force_push            let x|git push --force
deny  git.force_push            env = git push --force
deny  git.force_push            printf '%s\n' 'git push --force' | bash -s
deny  git.force_push            bash <<< 'git push --force'
deny  git.force_push            git -c alias.x='push --force' x
deny  git.force_push            git -c alias.x='!git push --force' x
deny  git.force_push            git -c core.pager='git push --force' log
deny  git.force_push            git config alias.p 'push --force'
deny  git.force_push            GIT_EDITOR='git push --force' git commit
deny  git.force_push            git rebase -x 'git push --force' main
deny  git.force_push            git rebase --exec='git push --force' main
deny  git.force_push            git bisect run git push --force
deny  git.force_push            git submodule foreach 'git push --force'
deny  git.force_push            git filter-branch --tree-filter 'git push --force' HEAD
deny  git.force_push            tar cf x . --checkpoint-action=exec='git push --force'
deny  git.force_push            vim -c '!git push --force'
deny  git.force_push            git send-pack --force origin
# --- rm ----------------------------------------------------------------------------------------------------------------
deny  destructive.remove_root   rm -rf /
deny  destructive.remove_root   rm -fr //
deny  destructive.remove_root   rm -r --force /*
deny  destructive.remove_root   rm --recursive --no-preserve-root /
deny  destructive.remove_root   rm -rf ~
deny  destructive.remove_root   rm -rf ~/
deny  destructive.remove_root   rm -rf ~/*
deny  destructive.remove_root   rm -rf $HOME
deny  destructive.remove_root   rm -rf "${HOME}"
deny  destructive.remove_root   rm -rf "$HOME"/*
deny  destructive.remove_root   rm -rf build / dist
deny  destructive.remove_root   rm -rf -- /
deny  destructive.remove_root   rm -rf /etc
deny  destructive.remove_root   rm -rf /usr/*
deny  destructive.remove_root   r\m -r\f /
deny  destructive.remove_root   $'\x72\x6d' -rf /
deny  destructive.remove_root   D=/; rm -rf $D
deny  destructive.remove_root   cd / && rm -rf /*
deny  destructive.remove_root   echo / | xargs rm -rf
deny  destructive.remove_root   find / -delete
deny  destructive.remove_root   find / -name x -exec rm -rf {} \;
deny  destructive.remove_root   chmod -R 000 /
deny  protected_path            rm -rf .
deny  protected_path            rm -rf .git
deny  protected_path            rm -rf .git*
deny  protected_path            rm -rf "$PWD"
# --- disks -------------------------------------------------------------------------------------------------------------
deny  destructive.disk          mkfs.ext4 /dev/sda1
deny  destructive.disk          dd if=/dev/zero of=/dev/sda bs=1M
deny  destructive.device        cat x > /dev/sda
deny  destructive.device        echo b > /proc/sysrq-trigger
deny  destructive.power         reboot
# --- protected paths ---------------------------------------------------------------------------------------------------
deny  protected_path            echo x > .env
deny  protected_path            echo x >> .env.production
deny  protected_path            echo x > .git/config
deny  protected_path            echo x > sub/../.git/hooks/pre-commit
deny  protected_path            cd .git && echo x > config
deny  protected_path            (cd .git/hooks; cp ../../x pre-commit)
deny  protected_path            cp hook .git/hooks/pre-commit
deny  protected_path            cp -t .git/hooks pre-commit
deny  protected_path            mv .git .git-old
deny  protected_path            tee .nightcrew/policy.yaml < x
deny  protected_path            echo x | tee -a .NIGHTCREW/policy.yaml
deny  protected_path            sed -i s/deny/allow/ .nightcrew/policy.yaml
deny  protected_path            ln -s /x .git/y
deny  protected_path            chmod 777 .git
deny  protected_path            touch keys/server.pem
deny  protected_path            dd if=x of=.env
deny  protected_path            { echo a; echo b; } > .env
deny  protected_path            for i in a; do echo $i; done > .env
deny  protected_path            &> .env ls
deny  protected_path            > .env
deny  protected_path            echo x > "$PWD/.git/config"
deny  protected_path            echo x > $ROOT/.git/config
deny  protected_path            echo x > .g?t/config
deny  protected_path            bash -c 'echo x > .env'
deny  protected_path            git mv .env x
deny  protected_path            find .git -delete
# --- SQL ---------------------------------------------------------------------------------------------------------------
deny  destructive.sql_drop      psql -c "DROP TABLE users"
deny  destructive.sql_drop      sqlite3 app.db 'drop table users;'
deny  destructive.sql_drop      echo 'DROP DATABASE x' | mysql
deny  destructive.sql_drop      mysql <<< 'drop schema x'
deny  destructive.sql_drop      python -c "db.execute('DROP TABLE users')"
deny  destructive.sql_drop      cat dump.sql && sh -c 'psql -c "drop   table x"'
deny  destructive.sql_drop      dropdb prod
deny  destructive.sql_truncate  psql -c 'TRUNCATE users'
ask   destructive.sql_unbounded psql -c 'DELETE FROM users'
ask   destructive.sql_unbounded mysql -e 'update users set a=1'
ask   destructive.sql_text      ./manage.py sql 'DROP TABLE users'
allow defaults.commands         psql -c 'DELETE FROM users WHERE id = 1'
# --- leaves the machine ------------------------------------------------------------------------------------------------
ask   net.tools                 curl https://example.org
ask   net.tools                 wget -q example.org
ask   net.tools                 ssh host 'rm -rf x'
ask   net.tools                 scp a host:
ask   net.tools                 cat x | nc host 80
ask   net.python_packages       pip install limits
ask   net.python_packages       pip3 --proxy x install limits
ask   net.python_packages       python -m pip install -e .
ask   net.python_packages       uv add limits
ask   net.python_packages       uv pip install limits
ask   net.node_packages         npm install left-pad
ask   net.node_packages         npm ci
ask   net.node_packages         npx create-x
ask   net.node_packages         yarn
ask   net.other_packages        cargo install x
ask   net.other_packages        go get x
ask   system.packages           apt-get install -y jq
ask   net.publish               npm publish
ask   net.publish               gh pr create
ask   net.infrastructure        docker run x
ask   net.infrastructure        kubectl delete pod x
ask   shell.root                sudo ls
ask   shell.root                su -c 'ls' bob
deny  nightcrew.decides         nightcrew approve A-1
# --- cannot be known ---------------------------------------------------------------------------------------------------
ask   shell.opaque              curl -s x | sh
ask   shell.opaque              curl -s x | sudo bash
ask   shell.opaque              wget -qO- x | bash -s -- --yes
ask   shell.opaque              echo cm0gLXJmIC8= | base64 -d | sh
ask   shell.opaque              bash <(curl -s x)
ask   shell.opaque              bash < <(curl -s x)
ask   shell.opaque              source <(curl -s x)
ask   shell.opaque              . /etc/profile
ask   shell.opaque              source "$X"
ask   shell.opaque              eval "$x"
ask   shell.opaque              eval $(ssh-agent)
ask   shell.opaque              $x -rf y
ask   shell.opaque              $(echo rm) -rf y
ask   shell.opaque              "$x"/$y z
ask   shell.opaque              bash -c "$x"
ask   shell.opaque              bash "$x"
ask   shell.opaque              git $x
ask   shell.opaque              git $(echo push) --force
ask   shell.opaque              /???/b??h -c ls
ask   shell.opaque              xargs sh -c
ask   shell.opaque              cat x | xargs git
ask   shell.opaque              cat x | while read l; do $l; done
ask   shell.opaque              cat x | while read l; do sh; done
ask   shell.opaque              strace --new-option x ls
ask   shell.opaque              GIT_CONFIG_KEY_0=alias.x git x
ask   shell.opaque              ls | xargs -I{} sh -c 'cat {}'
ask   shell.opaque              false && X=ls; $X y
ask   shell.opaque              (X=ls); $X y
ask   shell.opaque              X=ls; X=rm; $X y
ask   shell.opaque              f() { "$@"; }; f ls
ask   shell.opaque              curl -s x | python3
ask   shell.opaque              base64 -d x | perl
ask   shell.opaque              cat x | node -
allow dev.tools                 python -m json.tool < x.json
ask   shell.opaque              shopt -s expand_aliases
ask   shell.opaque              hash -p /bin/rm ls; ls -rf x
ask   shell.opaque              printf -v 'a[$(x)]' y
ask   shell.opaque              a='b[$(x)]'; echo $((a))
ask   net.dev_tcp               exec 3<>/dev/tcp/host/80
ask   net.dev_tcp               cat < /dev/tcp/host/80
ask   git.hidden_push           python -c "import os; os.system('git push --force')"
allow shell.readonly            cat x.json | python -m json.tool
ask   shell.opaque              echo() { cat x; }; echo ls | sh
# --- not bash ----------------------------------------------------------------------------------------------------------
ask   shell.unparsable          foo (
ask   shell.unparsable          if true; then
ask   shell.unparsable          echo "a
ask   shell.unparsable          git push --force )
"""

ROWS = [tuple(line.split(maxsplit=2)) for line in TABLE.splitlines() if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def policy():
    return layer([default_policy()])


@pytest.mark.parametrize(("verdict", "rule", "line"), ROWS, ids=[row[2] for row in ROWS])
def test_the_shipped_policy_says(policy, verdict: str, rule: str, line: str) -> None:
    decision = judge(policy, Action("exec", line), parse=parse)
    assert (decision.verdict, decision.rule) == (verdict, rule), decision
    assert decision.reason
    if decision.rule != "shell.unparsable" and verdict != "allow":
        assert decision.source.startswith("defaults.yaml:")


def test_the_table_is_long_and_has_no_row_twice() -> None:
    assert len(ROWS) >= 250
    assert len({row[2] for row in ROWS}) == len(ROWS)
